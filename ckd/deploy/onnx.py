"""Networks as ONNX files, which run without torch."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ckd.deploy.extra import extra
from ckd.deploy.files import whole
from ckd.deploy.graph import Graph, batch_axes
from ckd.deploy.inputs import Inputs
from ckd.deploy.quiet import quiet
from ckd.deploy.running import session_call
from ckd.deploy.session import onnx_session
from ckd.errors import ConfigError, ModelError


def export_onnx(network: nn.Module, example: Inputs, file: str | Path, *, tolerance: float = 1e-4) -> None:
    """Write a network as one ONNX file for batches of any size, checked by ONNX Runtime.

    The input is called "input", the output "logits"; where `forward` takes several tensors, as (token ids, mask), the
    inputs have the names of its arguments. BatchNorm and dropout are those of eval mode. Weights in channels-last
    memory are written as usual.

    Args:
        network: in float32, on any device and in any mode, which stay as they are.
        example: inputs (B, ...), or a tuple of them where `forward` takes several. All axes but the first are fixed.
        file: where to; nothing is there after an error, or what was there before.
        tolerance: largest difference to the network's outputs, relative to the largest where that is above 1.

    Raises:
        ConfigError: the extra `export` is not installed, or too old; half or double precision; an example without
            samples.
        DataError: a place that cannot be written.
        ModelError: a network that does not return one tensor (B, ...), that torch.export cannot follow for every batch
            size, that has operators which ONNX lacks, or whose file computes something else.
    """
    onnx = extra("onnx", "onnxruntime", "onnxscript")
    with whole(file) as part:
        graph = Graph.of(network, example)
        onnx.save(_plain(_as_onnx(graph)), part)
        onnx.checker.check_model(part)
        graph.check(session_call(onnx_session(part)), tolerance)


def _as_onnx(graph: Graph) -> Any:
    """The model, as onnx.ModelProto."""
    names = ["input"] if len(graph.inputs) == 1 else _arguments(graph.network, len(graph.inputs))
    try:
        with quiet():
            made = torch.onnx.export(
                graph.program,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=batch_axes(graph.inputs),
                verbose=False,
            )
    except ImportError as error:  # of a part that this version of torch needs
        fix = "Install one: pip install --upgrade 'avalanche-ckd[export]'"
        raise ConfigError("export_onnx", expected="a newer onnxscript", received=error, fix=fix) from error
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(
            type(graph.network).__name__,
            expected="operators that ONNX has",
            received=error.__cause__ or error,
            fix="Replace that operator, or write a program with ckd.deploy.export_program.",
        ) from error
    assert made is not None
    return made.model_proto


def _arguments(network: nn.Module, n: int) -> list[str]:
    """Names of the first `n` arguments of `forward`, numbered where it takes any number."""
    names = [p.name for p in inspect.signature(network.forward).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    return (names + [f"input_{i}" for i in range(len(names), n)])[:n]


def _plain(model: Any) -> Any:
    """The model without the notes that the exporter leaves in it, paths of source files among them.

    Nor with the shapes between input and output: readers infer them, and the quantiser trips over those of weights that
    it transposes.
    """
    graph = model.graph
    del graph.value_info[:]
    for noted in [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        noted.ClearField("doc_string")
        del noted.metadata_props[:]
    return model
