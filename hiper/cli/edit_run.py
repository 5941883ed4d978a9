"""What `hiper-edit` does once its options are understood."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from hiper.analysis import STRENGTHS, comparison, strength_strip
from hiper.attention import attention_maps, attention_sheet
from hiper.cli.console import print_results, say
from hiper.cli.loading import describe, load_hiper
from hiper.cli.names import slug, snapshots_path, subject_stem
from hiper.cli.options import Running
from hiper.cli.output_folder import OutputFolder
from hiper.cli.pictures import BATCH_SIZE, batch_count, save_drawing, save_edits
from hiper.cli.progress import edit_progress
from hiper.edit import choose_edit_config
from hiper.errors import ModelError
from hiper.pipeline import HiPer
from hiper.prompts import check_prompts
from hiper.tail import Tail, load
from hiper.tail_choice import choose_tail

BUILT_IN = "menagerie"


@dataclass(frozen=True)
class EditRun:
    """One call of `hiper-edit`; the fields are its options, `wishes` those that `HiPer.edit` takes."""

    tail: Path
    prompts: Sequence[str]
    output: Path
    model: str | None
    running: Running
    seeds: Sequence[int]
    wishes: Mapping[str, Any]
    snapshot: int | None
    sheet: bool
    strip: bool
    attention_maps: bool
    text: bool
    as_json: bool

    def run(self) -> None:
        """Sample everything, then save it: all or nothing."""
        check_prompts(self.prompts)
        tail = load(self.tail)
        if self.snapshot is not None:
            tail = choose_tail(tail, snapshots_path(self.tail), self.snapshot)
        model = self.model or _model_of(tail)
        with OutputFolder(self.output) as folder:
            hiper = load_hiper(model, replace(self.running, clip_skip=tail.info.clip_skip))
            config = choose_edit_config(hiper.recipe, tail, **self.wishes)
            start = time.perf_counter()
            with edit_progress(self._batches, config) as callback:
                options = {**self.wishes, "callback": callback}
                pictures = hiper.edit(tail, self.prompts, seed=self.seeds, batch_size=BATCH_SIZE, **options)
                drawings = self._draw(hiper, tail, pictures, options | {"seed": self.seeds[0]})
            edit_s = time.perf_counter() - start
            with folder.staged() as staging:
                edits = save_edits(pictures, folder, staging, self._stem, self.text)
                drawn = [save_drawing(drawing, folder, staging, stem) for stem, drawing in drawings]
        say(f"sampled in {edit_s:.1f} s, {config.num_inference_steps} steps a picture")
        facts = {"tail_sha256": tail.digest, "settings": asdict(config), "edit_s": round(edit_s, 2)}
        facts |= {"edits": edits, "drawings": drawn}
        print_results([*(edit["path"] for edit in edits), *drawn], describe(hiper) | facts, self.as_json)

    @property
    def _stem(self) -> str:
        return subject_stem(self.tail)

    @property
    def _batches(self) -> int:
        prompts = len(self.prompts)
        drawings = (1 + prompts) * self.sheet + (1 + len(STRENGTHS)) * prompts * self.strip
        return batch_count(prompts * len(self.seeds)) + drawings + prompts * self.attention_maps

    def _draw(
        self, hiper: HiPer, tail: Tail, pictures: Sequence[Image.Image], options: Mapping[str, Any]
    ) -> list[tuple[str, Image.Image]]:
        """The drawings asked for, each with the stem of its name."""
        drawings = []
        if self.sheet:
            first = pictures[:: len(self.seeds)]
            drawings.append((f"{self._stem}-sheet", comparison(hiper, tail, self.prompts, first, **options)))
        if self.strip:
            drawings.append((f"{self._stem}-strip", strength_strip(hiper, tail, self.prompts, **options)))
        if self.attention_maps:
            for prompt in self.prompts:
                maps = attention_maps(hiper, tail, prompt, **options)
                drawings.append((f"{self._stem}-{slug(prompt)}-attention", attention_sheet(maps, title=prompt)))
        return drawings


def _model_of(tail: Tail) -> str:
    """The model that ships with HiPer, for its own tails; no other is loaded, let alone downloaded, unasked."""
    if tail.info.model_id != BUILT_IN:
        raise ModelError(f"tail was fitted with {tail.info.model_id}, which has to be named; add --model and its place")
    return BUILT_IN
