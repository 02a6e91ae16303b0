"""What a network gives: its logits, or the output of any module inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError, ModelError, UnknownNameError

HEAD = "the head"


@dataclass(frozen=True)
class Output:
    """Which output of a network: its logits, or what modules inside it put out. Made by `logits`, `tap`, `features`.

    Attributes:
        paths: dotted module paths, as `model.named_modules()` gives them; none for the logits.
        inputs: what the modules take in instead of what they put out.
    """

    paths: tuple[str, ...] = ()
    inputs: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.paths, self.inputs)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return] # a step looks it up a dozen times

    def __reduce__(self) -> tuple[type[Output], tuple[Any, ...]]:
        return Output, (self.paths, self.inputs)  # another process hashes text in another way

    @property
    def is_logits(self) -> bool:
        """Whether it is what the network returns."""
        return not self.paths


logits = Output()
"""What the network returns."""

features = Output((HEAD,), inputs=True)
"""What the head takes in, (B, D). The head is the linear layer that gives the logits."""


def tap(*paths: str, inputs: bool = False) -> Output:
    """The output of the module at a dotted path, or the outputs of several as a tuple.

    Args:
        paths: as `model.named_modules()` gives them.
        inputs: the modules' inputs instead: `tap("classifier", inputs=True)` for the features of a named head.

    Raises:
        ConfigError: no path.
    """
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise ConfigError("tap", expected="one module path or more", received=paths, fix='For example tap("layer3").')
    return Output(paths, inputs)


def call(model: nn.Module, inputs: Tensor, tasks: Tensor | None = None) -> Tensor:
    """The logits of `model` for inputs (B, ...); task labels (B,) go to models that have a head for each task."""
    outputs: Tensor = model(inputs) if tasks is None else model(inputs, tasks)
    return outputs


def class_axis(logits: Tensor) -> int:
    """Where the classes are: 1 for dense logits (B, C, H, W), else the last axis."""
    return 1 if logits.dim() == 4 else -1


def full_precision(outputs: Tensor) -> Tensor:
    """Half and bfloat16 outputs as float32; others as they are."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


class Capture:
    """Within the context, each forward pass of `model` leaves the wanted outputs in it.

    The hooks are removed at the end, also after an error, and the tensors keep their graph. What a module puts out is
    copied, as a later module may work in place.

    Args:
        model: the network.
        wanted: outputs of modules inside it; its logits may be among them and are left to the caller.
        head: path of the linear layer that gives the logits, if `features` are wanted.

    Raises:
        UnknownNameError: a path that is not in the model; the nearest ones are in the message.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> with Capture(model, [tap("1")]) as found:
        ...     logits = model(torch.zeros(4, 3))
        >>> found[tap("1")].shape
        torch.Size([4, 5])
    """

    def __init__(self, model: nn.Module, wanted: Sequence[Output], head: str | None = None) -> None:
        modules = dict(model.named_modules())
        self._places: dict[Output, list[tuple[str, bool]]] = {}
        self._found: dict[tuple[str, bool], Tensor] = {}
        self._handles: list[Any] = []
        for output in wanted:
            paths = [head if path == HEAD and head is not None else path for path in output.paths]
            for path in paths:
                check_path(modules, path)
            self._places[output] = [(path, output.inputs) for path in paths]
        self._modules = {place: modules[place[0]] for places in self._places.values() for place in places}

    def __enter__(self) -> Capture:
        for place, module in self._modules.items():
            self._handles.append(self._watch(place, module))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __getitem__(self, output: Output) -> Any:
        """A tensor, or a tuple of several, from the last forward pass; float32 for half precision."""
        tensors = tuple(self._found[place] for place in self._places[output])
        return tensors[0] if len(tensors) == 1 else tensors

    def _watch(self, place: tuple[str, bool], module: nn.Module) -> Any:
        def keep(value: Any) -> None:
            if not isinstance(value, Tensor):
                fix = "Tap a module that gives one tensor."
                raise ModelError(f"module {place[0]!r}", expected="a tensor", received=type(value), fix=fix)
            whole = full_precision(value)
            self._found[place] = value.clone() if whole is value else whole

        def before(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            keep(next(iter([*args, *named.values()]), None))

        def after(_module: nn.Module, _args: Any, value: Any) -> None:
            keep(value)

        if place[1]:
            return module.register_forward_pre_hook(before, with_kwargs=True)
        return module.register_forward_hook(after)


def check_path(modules: Mapping[str, nn.Module], path: str, of: str = "") -> None:
    """Raise an UnknownNameError, with the nearest paths, unless there is a module at this one of the network `of`."""
    if path not in modules:
        raise UnknownNameError.of(f"module path{of and f' of the {of}'}", path, filter(None, modules))


def collect(
    model: nn.Module, inputs: Tensor, tasks: Tensor | None, wanted: Sequence[Output], head: str | None = None
) -> Mapping[Output, Any]:
    """One forward pass of `model` as it is, and all the `wanted` outputs of it."""
    if all(output.is_logits for output in wanted):
        return {logits: call(model, inputs, tasks)}
    with Capture(model, [output for output in wanted if output.paths], head) as found:
        result = {logits: call(model, inputs, tasks)}
    return {output: result[logits] if output.is_logits else found[output] for output in wanted}


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode within the context; every module's mode as it was afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def find_head(model: nn.Module, inputs: Tensor, tasks: Tensor | None = None) -> str:
    """Path of the linear layer that gives the logits, found by one forward pass of `inputs` (B, ...) in eval mode.

    That is the layer whose output the model returns; where the model changes it first, the only one of its values or
    width.

    Raises:
        ModelError: none or several such layers.
    """
    called: dict[str, Tensor] = {}
    linear = {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, path=path: called.__setitem__(path, output))
        for path, module in linear.items()
    ]
    try:
        with eval_mode(model), torch.no_grad():
            returned: Any = call(model, inputs, tasks)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(returned, Tensor):
        expected, fix = "one tensor of logits", "Wrap the model so that its forward returns the logits alone."
        raise ModelError("output of the model", expected=expected, received=type(returned), fix=fix)
    wide = {path: output for path, output in called.items() if output.shape == returned.shape}
    for fits in (
        [path for path, output in wide.items() if output.data_ptr() == returned.data_ptr()],
        [path for path, output in wide.items() if torch.equal(output.to(returned.dtype), returned)],
        list(wide),
    ):
        if len(fits) == 1:
            return fits[0]
    raise ModelError(
        "head of the model",
        expected="one linear layer that gives the logits",
        received=", ".join(wide) or f"none among {', '.join(linear) or 'no linear layers'}",
        fix='Name it, as in head="classifier" of SelfDistillation or Engine.',
    )


def head_at(model: nn.Module, path: str | None) -> nn.Linear:
    """The linear layer at `path`.

    Raises:
        ModelError: no path was found or given, or another kind of module is there.
    """
    module = None if path is None else dict(model.named_modules()).get(path)
    if not isinstance(module, nn.Linear):
        fix = 'Name it, as in head="classifier".'
        raise ModelError(
            "head of the model", expected="a linear layer", received=f"{type(module)} at {path!r}", fix=fix
        )
    return module
