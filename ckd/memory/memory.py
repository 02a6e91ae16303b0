"""A small memory of the stream, for rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ckd.devices import on
from ckd.errors import ConfigError, DataError
from ckd.memory.columns import allocate, check_kind, write
from ckd.memory.policy import Policy
from ckd.memory.reservoir import Reservoir
from ckd.outputs import class_axis
from ckd.part import Ending, Part, Update, tensor_bytes
from ckd.rows import Rows


class Memory(Part):
    """At most `size` samples, copied out of the stream into preallocated tensors.

    The inputs are stored as they arrive (uint8 images stay uint8: 200 of MNIST take 157 kB), so that the data of
    old experiences can be freed and each draw can be prepared and augmented anew.

    Args:
        size: how many samples; 0 remembers nothing.
        policy: who enters and who leaves; a `Reservoir` unless given.
        keep_logits: also store the logits that the student gave when the sample was seen.
        held_out: share of the samples that `sample` never draws, so that they can tell how the model does on what it
            does not rehearse (Wu et al. 2019, arXiv:1905.13260, section 4.1): every k-th slot, k the whole number
            nearest to 1/held_out.
        earlier_only: draw only samples of experiences that have ended, as methods do that fill their memory at
            boundaries. Those of the running experience wait for its end, and take places meanwhile: late in the second
            of two equal experiences, draws are from half the memory. A single sample that is left is not drawn, as
            batch normalisation needs two.
        device: where the columns live; that of the first samples unless given.
        seed: of the memory's own generator, which admission and draws use.

    Raises:
        ConfigError: a negative size, or a share that is not from 0 to 1/2.
    """

    can_keep_logits = True
    needs_whole_experience = False

    def __init__(
        self,
        size: int,
        *,
        policy: Policy | None = None,
        keep_logits: bool = False,
        held_out: float = 0.0,
        earlier_only: bool = False,
        device: torch.device | str | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ConfigError(
                "memory size", expected="a whole number from 0", received=repr(size), fix="200 and 500 are customary."
            )
        if policy is not None and not callable(getattr(policy, "admit", None)):
            raise ConfigError(
                "policy of the memory", expected="a Policy", received=repr(policy), fix="Use Reservoir() or Balanced()."
            )
        if not isinstance(held_out, int | float) or not 0 <= held_out <= 0.5:
            raise ConfigError(
                "share of the memory that is held out",
                expected="from 0 to 0.5",
                received=repr(held_out),
                fix="Use 0.1.",
            )
        self.size = size
        self.stride = round(1 / held_out) if held_out else 0
        self.policy = policy or Reservoir()
        self.needs_one_label = self.needs_one_label or getattr(self.policy, "needs_one_label", False)
        self.keep_logits = keep_logits
        self.needs_boundaries = self.needs_boundaries or earlier_only
        self.device = torch.device(device) if device is not None else None
        self.generator = torch.Generator().manual_seed(seed)
        self._table: Rows | None = None
        self._filled = 0
        self._waiting = torch.zeros(size, dtype=torch.bool) if earlier_only else None  # slots of the running experience
        self._drawable: Tensor | None = None  # slots that may be drawn, once they are asked for
        self._all_known = True
        self._constants: tuple[Any, ...] = (None,)

    def __len__(self) -> int:
        return self._filled

    @property
    def rows(self) -> Rows:
        """The samples stored so far, as views of the columns."""
        if self._table is None:
            raise RuntimeError("the memory is empty: add samples first")
        if self._filled == self.size:
            return self._table
        return Rows(**{name: column[: self._filled] for name, column in self._table.items()})

    @property
    def all_logits_known(self) -> bool:
        """Whether it is known that no stored logit is NaN."""
        return self._all_known

    @property
    def can_draw(self) -> bool:
        """Whether there is a sample that `draw` may take."""
        return self._filled > 0 if self._waiting is None else len(self._slots()) > (self.size > 1)

    def add(self, incoming: Rows) -> None:
        """Offer a batch; the policy decides what is copied in, and in whose place.

        With `earlier_only` they are drawn after the next `end`.
        """
        known = incoming.logits is None or not bool(incoming.logits.isnan().any())
        self._offer(incoming, all_known=known)

    def _offer(self, incoming: Rows, *, all_known: bool) -> None:
        if self.size == 0 or not len(incoming):
            return
        if not self.keep_logits:
            incoming = incoming if incoming.logits is None else replace(incoming, logits=None)
        elif incoming.logits is None:
            raise DataError(
                "samples to remember", expected="logits, as keep_logits says", received="none", fix="Add them."
            )
        if self._table is None:
            self._table = allocate(incoming, self.size, self.device or incoming.raw.device)
        check_kind(self._table, incoming)  # before the policy counts a batch that is refused
        rows, slots = self.policy.admit(incoming, self.rows, self.size, self.generator)
        if not rows.shape[0]:
            return
        self._all_known &= all_known and _width(self._table) == _width(incoming)
        device = self._table.raw.device
        chosen = incoming.take(on(incoming.raw.device, rows)).to(device)
        self._table = write(self._table, on(device, slots), chosen)
        self._filled, self._drawable = max(self._filled, int(slots.max()) + 1), None
        if self._waiting is not None:
            self._waiting[slots] = True

    def after_update(self, update: Update) -> None:
        """Offer the stream's batch, with the logits that the step already computed."""
        n, device = update.targets.shape[0], update.targets.device
        key = (update.experience, n, device)
        if key != self._constants[0]:
            zeros = torch.zeros(n, dtype=torch.int64, device=device)
            self._constants = key, torch.full_like(zeros, update.experience), zeros
        _, experiences, zeros = self._constants
        rows = Rows(update.raw, update.targets, zeros if update.tasks is None else update.tasks, experiences)
        rows.logits = update.logits if self.keep_logits else None
        self._offer(rows, all_known=update.all_active)

    def end(self, ending: Ending) -> None:
        """From now on the samples of this experience may be drawn."""
        if self._waiting is not None:
            self._waiting.zero_()
            self._drawable = None

    def sample(self, n: int, *, draws: int = 1) -> Rows:
        """Copies of `n` >= 0 rows drawn without replacement, all that may be drawn if there are fewer.

        With several `draws`, independent ones, the rows of one after those of the other.
        """
        rows = self.rows
        return rows.take(on(rows.raw.device, self.draw(n, draws=draws)))

    def draw(self, n: int, *, draws: int = 1) -> Tensor:
        """The slots of the rows that `sample` copies, (draws · n,), int64 on the CPU."""
        plain = not self.stride and self._waiting is None
        among = None if plain else self._slots()
        n_slots = self._filled if among is None else len(among)
        drawn = [torch.randperm(n_slots, generator=self.generator)[:n] for _ in range(draws)]
        slots = drawn[0] if draws == 1 else torch.cat(drawn)
        return slots if among is None else among[slots]

    def _slots(self) -> Tensor:
        """The slots that may be drawn, in ascending order."""
        if self._drawable is None:
            may = torch.ones(self._filled, dtype=torch.bool)
            if self.stride:
                may[self.stride - 1 :: self.stride] = False
            if self._waiting is not None:
                may &= ~self._waiting[: self._filled]
            self._drawable = may.nonzero()[:, 0]
        return self._drawable

    def held_out(self) -> Rows | None:
        """Copies of the rows that are never drawn; None if there are none."""
        if not self.stride or self._filled < self.stride:
            return None
        index = torch.arange(self.stride - 1, self._filled, self.stride)
        return self.rows.take(index.to(self.rows.raw.device))

    def nbytes(self) -> dict[str, int]:
        """Bytes of the columns as allocated: inputs, logits, and labels (targets, tasks, experiences)."""
        if self._table is None:
            return {}
        sizes = {name: tensor_bytes(column) for name, column in self._table.items()}
        labels = sizes["targets"] + sizes["tasks"] + sizes["experiences"]
        return {"inputs": sizes["raw"], "labels": labels, "logits": sizes.get("logits", 0)}

    def state_dict(self) -> dict[str, Any]:
        """Columns, policy and generator: all that the next draw depends on."""
        columns: dict[str, Tensor] = {} if self._table is None else dict(self._table.items())
        return {
            "columns": {name: column.clone() for name, column in columns.items()},
            "filled": self._filled,
            "all_known": self._all_known,
            "stride": self.stride,
            "waiting": None if self._waiting is None else self._waiting.clone(),
            "policy": self.policy.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module | None = None) -> None:
        """Restore what `state_dict` returned, bit for bit.

        Raises:
            ConfigError: the state of a memory of another size, or that draws from other slots.
        """
        if state["stride"] != self.stride:
            raise ConfigError(
                "state of a memory",
                expected=f"slots held out {self.stride} apart",
                received=f"{state['stride']} apart",
                fix="Load it into a memory with the held_out that it was saved from.",
            )
        waiting = state.get("waiting")  # missing in states of before there was earlier_only
        if (waiting is None) != (self._waiting is None):
            raise ConfigError(
                "state of a memory",
                expected=f"earlier_only={self._waiting is not None}",
                received="the opposite",
                fix="Load it into a memory with the earlier_only that it was saved from.",
            )
        columns = {name: column.clone() for name, column in state["columns"].items()}
        if columns and len(columns["raw"]) != self.size:
            raise ConfigError(
                "state of a memory",
                expected=f"{self.size} rows",
                received=f"{len(columns['raw'])} rows",
                fix="Load it into a memory of the size it was saved from.",
            )
        self._table = Rows(**columns) if columns else None
        self._filled, self._drawable = state["filled"], None
        self._waiting = None if waiting is None else waiting.cpu().clone()
        self._all_known = state["all_known"]
        self.policy.load_state_dict(state["policy"])
        self.generator.set_state(state["generator"].cpu())


def _width(rows: Rows) -> int | None:
    return None if rows.logits is None else rows.logits.shape[class_axis(rows.logits)]
