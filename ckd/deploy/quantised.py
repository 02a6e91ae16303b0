"""Networks in 8-bit integers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ckd.deploy.extra import extra
from ckd.deploy.files import whole
from ckd.deploy.inputs import Inputs, as_tuple
from ckd.deploy.quiet import quiet
from ckd.deploy.running import running
from ckd.errors import DataError, ModelError
from ckd.outputs import class_axis


def quantise_onnx(onnx_file: str | Path, file: str | Path, batches: Iterable[Inputs]) -> float:
    """Write an ONNX network with 8-bit integers in place of float32, a quarter of its size.

    A network with convolutions gets weights and activations in integers, the activations' ranges taken from `batches`
    (Jacob et al. 2018, arXiv:1712.05877); one without, such as a transformer, weights alone, its activations being
    converted as they come. ONNX Runtime does both, as it halved an mlp's latency on a CPU where torchao, which leaves
    convolutions alone, made it 40 times as long.

    Args:
        onnx_file: what `export_onnx` wrote.
        file: where to; nothing is there after an error, or what was there before.
        batches: a few hundred training samples as the network takes them, in batches (B, ...).

    Returns:
        The share of these samples that both networks give the same class, in [0, 1]. Measure accuracy on test samples,
        with `accuracy_of`.

    Raises:
        ConfigError: the extra `export` is not installed; a batch without samples.
        DataError: no batches, or of another shape than the network's; a file that is no network; a place that cannot be
            written.
        ModelError: a network that ONNX Runtime cannot quantise, or whose logits are then no numbers.
    """
    onnx, quantiser = extra("onnx"), _quantiser()
    shown = [as_tuple(batch) for batch in batches]
    if not shown:
        fix = "Give some training samples."
        raise DataError("calibration", expected="one batch or more", received="none", fix=fix)
    before = _logits(onnx_file, shown)
    model = onnx.load(onnx_file)
    with whole(file) as part:
        try:
            with quiet():
                if any(node.op_type == "Conv" for node in model.graph.node):
                    _static(quantiser, model, part, shown)
                else:
                    _dynamic(quantiser, model, part)
        except Exception as error:  # of many kinds
            fix = "Use it in float32."
            what = f"network in {onnx_file}"
            raise ModelError(what, expected="one that can be quantised", received=repr(error), fix=fix) from error
        after = _logits(part, shown)
        if after.shape != before.shape or not after.isfinite().all():
            expected, fix = f"finite logits {tuple(before.shape)}", "Use it in float32."
            raise ModelError("quantised network", expected=expected, received=tuple(after.shape), fix=fix)
    axis = class_axis(before)
    return float((before.argmax(axis) == after.argmax(axis)).double().mean())


def _quantiser() -> Any:
    with quiet():
        return extra("onnxruntime.quantization")


# Weights have a range for each channel, and 7 of the 8 bits: products of more overflow on processors without VNNI.


def _dynamic(quantiser: Any, model: Any, part: Path) -> None:
    weight = quantiser.QuantType.QInt8
    quantiser.quantize_dynamic(model, part, weight_type=weight, per_channel=True, reduce_range=True)


def _static(quantiser: Any, model: Any, part: Path, shown: list[tuple[Tensor, ...]]) -> None:
    names = [one.name for one in model.graph.input]
    arrays = iter([{name: value.cpu().numpy() for name, value in zip(names, batch, strict=True)} for batch in shown])
    quantiser.quantize_static(
        model,
        part,
        _Reader(arrays),
        activation_type=quantiser.QuantType.QUInt8,
        weight_type=quantiser.QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )


class _Reader:
    """What the quantiser reads: a batch at a time, then None."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def get_next(self) -> Any:
        return next(self.batches, None)


def _logits(file: str | Path, shown: list[tuple[Tensor, ...]]) -> Tensor:
    with running(file) as run:
        return torch.cat([run(batch) for batch in shown])
