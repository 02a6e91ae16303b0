"""The parts of an objective through a run: experiences begin and end, updates are followed, state is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from ckd.classes import Classes
from ckd.errors import ConfigError
from ckd.objective.objective import Objective
from ckd.part import Ending, Part, Update

ONE_RUN = "Build a new one for each run: its memory and teachers belong to one student."


class LifeCycle:
    """Calls every part at its moments, in the order in which they build on each other.

    Raises:
        ConfigError: a part of another run.
    """

    def __init__(self, objective: Objective) -> None:
        self._run = _Run()
        self.parts, self._objective = objective.parts, objective
        self._chains = tuple(objective.evaluation.values())
        following = [part for part in self.parts.values() if type(part).after_update is not Part.after_update]
        self._followers = sorted(following, key=lambda part: part is not objective.anchor)  # it moves the student
        self._refuse_others()

    def claim(self) -> None:
        """Make all parts those of this run, which begins now.

        Raises:
            ConfigError: a part of another run.
        """
        self._refuse_others()
        for part in self.parts.values():
            if part.owner is None and part.state_dict():
                part.owner = self._run

    def _refuse_others(self) -> None:
        for name, part in self.parts.items():
            if part.owner not in (None, self._run):
                who = f"objective {self._objective.name!r}, {name}"
                raise ConfigError(who, expected="a new one", received="one that was trained", fix=ONE_RUN)

    def begin(self, student: nn.Module, classes: Classes) -> None:
        """An experience begins."""
        for part in self.parts.values():
            part.begin(student, classes)

    def after_update(self, update: Update) -> None:
        """Let the parts that do so follow an optimiser step."""
        for part in self._followers:
            part.after_update(update)

    def end(self, ending: Ending) -> None:
        """An experience ends; an evaluation model sees the network that it builds on in the student's place."""
        for part in self.parts.values():
            part.end(replace(ending, model=self._base_of(part, ending.model)))

    @property
    def follows(self) -> bool:
        """Whether any part follows the updates."""
        return bool(self._followers)

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method, by what they hold."""
        total = {"inputs": 0, "labels": 0, "logits": 0, "teachers": 0}
        for part in self.parts.values():
            for what, size in part.nbytes().items():
                total[what] = total.get(what, 0) + size
        return total

    def state_dict(self) -> dict[str, Any]:
        """The state of every part by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ConfigError: the state of another objective.
        """
        if set(self.parts) != set(state):
            expected, received = (", ".join(names) or "no parts" for names in (self.parts, state))
            differing = ", ".join(sorted(set(self.parts) ^ set(state)))
            fix = f"Build it with the recipe and settings that the state was saved from; they differ in: {differing}."
            raise ConfigError("state of an engine, parts", expected=expected, received=received, fix=fix)
        for name, part in self.parts.items():
            of_evaluation = getattr(part, "of_evaluation_model", False)  # whose own states were restored before
            copied = self._objective.evaluation_model(student) if of_evaluation else self._base_of(part, student)
            part.load_state_dict(state[name], copied)

    def _base_of(self, part: Part, student: nn.Module) -> nn.Module:
        """What an evaluation model, and what it is made of, builds on; the student for every other part."""
        for chain in self._chains:
            for i, one in enumerate(chain):
                if any(part is mine for mine in (one, *getattr(one, "members", {}).values())):
                    for earlier in chain[:i]:
                        student = earlier.evaluation_model(student)
                    return student
        return student


class _Run:
    """Which run a part belongs to; the same one when both are pickled together."""
