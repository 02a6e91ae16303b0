"""What several test files use: an experience in a plain loop, classes in the middle of a stream, saved state."""

import torch

from ckd.classes import Classes


def classes_in(*experiences, per_task: bool = False) -> Classes:
    """The bookkeeping while the last of these experiences runs; each is its classes, or its classes by task label."""
    classes = Classes()
    for i, current in enumerate(experiences):
        if i:
            classes.end()
        by_task = current if isinstance(current, dict) else {0: current}
        classes.begin({task: frozenset(some) for task, some in by_task.items()}, per_task=per_task)
    return classes


def learn_experience(engine, student, x, y, batches, optimizer) -> None:
    """One experience in a plain loop: a step for each batch (inputs, labels), then its end."""
    engine.begin(y.unique().tolist())
    for inputs, labels in batches:
        optimizer.zero_grad()
        engine.loss(student, inputs, labels).backward()
        optimizer.step()
        engine.after_update(optimizer)
    engine.end((x, y))


def assert_plain(state, where: str = "state") -> None:
    """Dictionaries by text, lists, text, numbers and tensors: what a checkpoint holds without any code of ours."""
    if isinstance(state, dict):
        assert all(type(name) is str for name in state), f"{where} has keys that are no text: {list(state)}"
        for name, value in state.items():
            assert_plain(value, f"{where}[{name!r}]")
    elif isinstance(state, list):
        for i, value in enumerate(state):
            assert_plain(value, f"{where}[{i}]")
    else:
        plain = {type(None), str, int, float, bool, torch.Tensor}
        assert type(state) in plain, f"{where} is a {type(state).__name__}"


def storages(state) -> set[int]:
    """Addresses of the tensors in a state."""
    if isinstance(state, dict):
        return set().union(*map(storages, state.values()))
    if isinstance(state, list):
        return set().union(*map(storages, state))
    return {state.untyped_storage().data_ptr()} - {0} if isinstance(state, torch.Tensor) else set()


def named(value):
    """A name for a test's argument, the same in every process."""
    return getattr(value, "__name__", type(value).__name__) if " at 0x" in str(value) else str(value)


def equal_bits(one, other) -> bool:
    """Whether two states are equal bit for bit; NaN is equal to the same NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal_bits(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal_bits, one, other))
    if isinstance(one, torch.Tensor):
        same = (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        return same and torch.equal(*(value.flatten().view(torch.uint8) for value in (one, other)))
    return type(one) is type(other) and (one == other or one != one)
