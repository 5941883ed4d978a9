"""A batch of rows from any mixture of edits, each with its own timestep, tail, prompt, guidance and solver.

A row is one evaluation of the UNet. A guided step of an edit takes two rows, an unguided one takes one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from engine.row_kernels import NONE, ROW_STEP, Floats
from engine.row_memory import HostRows, RowMemory, RowShapes
from engine.runtimes.buckets import BUCKETS
from engine.schedule import StepTable


@dataclass(eq=False)
class RowEdit:
    """An edit on its way from noise to latents.

    Attributes:
        noise: unit normal, (4, h, w).
        cond: the target prompt with its tail spliced in, (77, dim).
        uncond: the negative prompt, (77, dim).
        table: the solver.
        guidance_scale: at most 1 leaves the negative prompt out.
        guidance_interval: the part of the steps that is guided, within 0 to 1 (Kynkäänniemi et al. 2024).
        step: how many of its steps have been given rows.
    """

    noise: Floats
    cond: Floats
    uncond: Floats
    table: StepTable
    guidance_scale: float = 7.5
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    step: int = field(default=0, init=False)

    @property
    def done(self) -> bool:
        """Whether it needs no more rows."""
        return self.step == len(self.table)

    @property
    def guided(self) -> bool:
        """Whether its next step is guided."""
        start, end = self.guidance_interval
        return self.guidance_scale > 1 and start <= self.step / len(self.table) < end

    @property
    def rows(self) -> int:
        """How many rows its next step takes."""
        return 1 + self.guided


class _Place(NamedTuple):
    """Where a step of an edit is in a call."""

    step: int
    cond_row: int
    uncond_row: int


_NOWHERE: Final = _Place(0, NONE, NONE)


class RowBatch:
    """The edits under way, and the rows of the next call of the UNet.

    Edits keep their numbers in slots; whoever runs the batch says at every turn which of them get rows.

    Args:
        latent_shape: of one edit, (4, h, w).
        prompt_shape: (77, dim).
        buckets: the UNet is called with one of these numbers of rows, the least that holds them. Numbers that runtimes
            round differently for different shapes become the same in any company if there is but one.
        max_edits: how many can be under way.
        place: makes the memory of the shapes that it is given; on the host, if not given.
    """

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        prompt_shape: tuple[int, int],
        buckets: Sequence[int] = BUCKETS,
        max_edits: int = 64,
        place: Callable[[RowShapes], RowMemory] = HostRows,
    ) -> None:
        if list(buckets) != sorted(set(buckets)) or min(buckets, default=0) < 1 or buckets[-1] < 2:
            raise ValueError(f"buckets are {[*buckets]}; use growing numbers, and room for the 2 rows of a guided edit")
        self.max_rows = max_rows = buckets[-1]
        self._buckets = (0, *buckets)
        self._memory = place(RowShapes(latent_shape, prompt_shape, max_rows, max_edits))
        self._embeddings: list[Floats | None] = [None] * max_rows
        self._free_slots = list(reversed(range(max_edits)))
        self._slots: dict[RowEdit, int] = {}
        self._places: dict[RowEdit, _Place] = {}

    def join(self, edit: RowEdit) -> None:
        """Take an edit up, at the start of its trajectory.

        Raises:
            ValueError: `max_edits` are under way.
        """
        if not self._free_slots:
            raise ValueError(f"{len(self._slots)} edits are under way, as many as there may be; let one leave first")
        slot = self._slots[edit] = self._free_slots.pop()
        self._memory.start(slot, edit.noise * np.float32(edit.table.noise_scale))

    def leave(self, edit: RowEdit) -> None:
        """Give an edit up, finished or not; what a call under way answers it is ignored."""
        if edit in self._slots:
            self._free_slots.append(self._slots.pop(edit))
            self._places.pop(edit, None)

    def turn(self, out_sample: Any, edits: Iterable[RowEdit]) -> dict[str, Any]:
        """Let the last call's edits take their step, and give rows to those of the next call.

        Args:
            out_sample: the answer to what the last turn returned, (rows, 4, h, w); None where there was no call.
            edits: those of the next call: joined, not done, with at most `max_rows` rows in all.

        Returns:
            The inputs of the UNet, valid until the next turn: as many rows as a bucket has, those that no edit takes
            being zeros; no rows if there are no edits. Arrays are of the memory's kind.

        Raises:
            ValueError: the edits take more rows than there are.
        """
        last, self._places = self._places, self._place(edits)
        steps = np.array([self._row_step(edit, last) for edit in {**last, **self._places}], ROW_STEP)
        self._memory.advance(out_sample, steps)
        return self._inputs()

    def inputs(self, rows: int) -> dict[str, Any]:
        """What a call of so many rows would take now, whoever they belong to; to try the UNet with."""
        return self._memory.inputs(rows)

    def latents(self, edit: RowEdit) -> Floats:
        """A copy of an edit's latents, (4, h, w)."""
        return self._memory.latents(self._slots[edit])

    def x0(self, edit: RowEdit) -> Floats:
        """A copy of the clean latents as an edit's last step estimated them, (4, h, w)."""
        return self._memory.x0(self._slots[edit])

    def _place(self, edits: Iterable[RowEdit]) -> dict[RowEdit, _Place]:
        """Hand out rows in the order of the slots, so that few rows change hands."""
        places: dict[RowEdit, _Place] = {}
        row = 0
        for edit in sorted(edits, key=self._slots.__getitem__):
            places[edit] = _Place(edit.step, row + edit.guided, row if edit.guided else NONE)
            row += edit.rows
        if row > self.max_rows:
            raise ValueError(f"the edits take {row} rows but a call has at most {self.max_rows}; leave some out")
        for edit in places:
            edit.step += 1
        return places

    def _row_step(self, edit: RowEdit, last: Mapping[RowEdit, _Place]) -> tuple[float, ...]:
        """An entry of ROW_STEP."""
        step, *rows = last.get(edit, _NOWHERE)
        next_step, *next_rows = self._places.get(edit, _NOWHERE)
        table = edit.table
        return (
            self._slots[edit],
            *rows,
            *next_rows,
            edit.guidance_scale,
            *table.coefficients[step],
            table.timesteps[next_step],
        )

    def _inputs(self) -> dict[str, Any]:
        wanted: list[Floats | None] = [None] * self.max_rows
        for edit, place in self._places.items():
            wanted[place.cond_row] = edit.cond
            if place.uncond_row != NONE:
                wanted[place.uncond_row] = edit.uncond
        for row, embedding in enumerate(wanted):
            if embedding is not self._embeddings[row]:
                self._embeddings[row] = embedding
                self._memory.fill(row, embedding)
        taken = sum(embedding is not None for embedding in wanted)
        return self._memory.inputs(next(size for size in self._buckets if size >= taken))
