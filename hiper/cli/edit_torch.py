"""`hiper-edit` in PyTorch, with any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from PIL import Image

from hiper.attention import attention_maps, attention_sheet
from hiper.cli.edit_run import Drawings, EditRun, Loaded
from hiper.cli.loading import describe, load_hiper
from hiper.cli.names import slug, snapshots_path
from hiper.cli.options import Running
from hiper.cli.pictures import BATCH_SIZE
from hiper.errors import ModelError
from hiper.pipeline import HiPer
from hiper.tail import Tail, load
from hiper.tail_choice import choose_tail

BUILT_IN = "menagerie"


@dataclass(frozen=True)
class TorchEditRun(EditRun):
    """One call of `hiper-edit` without `--bundle`."""

    batch_size: ClassVar[int] = BATCH_SIZE

    model: str | None
    running: Running
    snapshot: int | None
    attention_maps: bool

    def load(self) -> Loaded:
        """Read the tail, or one of its snapshots, and the model."""
        tail = load(self.tail)
        if self.snapshot is not None:
            tail = choose_tail(tail, snapshots_path(self.tail), self.snapshot)
        hiper = load_hiper(self.model or _model_of(tail), replace(self.running, clip_skip=tail.info.clip_skip))
        return Loaded(tail, hiper, hiper.recipe, hiper.model.schedule.timesteps, describe(hiper))

    @property
    def batches(self) -> int:
        """As in EditRun, and one for each prompt's attention."""
        return super().batches + len(self.prompts) * self.attention_maps

    def draw(self, loaded: Loaded, pictures: Sequence[Image.Image], options: Mapping[str, Any]) -> Drawings:
        """As in EditRun, and each prompt's attention."""
        drawings = super().draw(loaded, pictures, options)
        if self.attention_maps:
            assert isinstance(loaded.hiper, HiPer) and isinstance(loaded.tail, Tail)
            for prompt in self.prompts:
                maps = attention_maps(loaded.hiper, loaded.tail, prompt, **options)
                drawings.append((f"{self.stem}-{slug(prompt)}-attention", attention_sheet(maps, title=prompt)))
        return drawings


def _model_of(tail: Tail) -> str:
    """The model that ships with HiPer, for its own tails; no other is loaded, let alone downloaded, unasked."""
    if tail.info.model_id != BUILT_IN:
        raise ModelError(f"tail was fitted with {tail.info.model_id}, which has to be named; add --model and its place")
    return BUILT_IN
