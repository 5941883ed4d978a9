"""What `hiper-edit` does once its options are understood, in whatever way its pictures are made."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import typer
from PIL import Image

from hiper.analysis import STRENGTHS, Editing, comparison, strength_strip
from hiper.cli.console import print_results, say
from hiper.cli.names import subject_stem
from hiper.cli.output_folder import OutputFolder
from hiper.cli.pictures import batch_count, save_drawing, save_edits
from hiper.cli.progress import edit_progress
from hiper.edit import EditConfig, Recommendations, Subject, choose_edit_config
from hiper.prompts import check_prompts

Drawings = list[tuple[str, Image.Image]]


class Loaded(NamedTuple):
    """What pictures come from.

    Attributes:
        tail: of the subject.
        hiper: what edits with it.
        recipe: what its model recommends.
        timesteps: of a solver and a number of steps; a ValueError where the model's schedule has not so many.
        facts: for the JSON.
    """

    tail: Subject
    hiper: Editing
    recipe: Recommendations
    timesteps: Callable[[Any, int], object]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class EditRun(ABC):
    """One call of `hiper-edit`; the fields are its options, `wishes` those that `HiPer.edit` takes.

    Attributes:
        batch_size: how many pictures take a step between two calls of the callback.
    """

    batch_size: ClassVar[int]

    tail: Path
    prompts: Sequence[str]
    output: Path
    seeds: Sequence[int]
    wishes: Mapping[str, Any]
    sheet: bool
    strip: bool
    text: bool
    as_json: bool

    @abstractmethod
    def load(self) -> Loaded:
        """Read the tail, then what edits with it."""

    def run(self) -> None:
        """Sample everything; each picture is saved when its batch is done, and stays however the command ends."""
        check_prompts(self.prompts)
        edits: list[dict[str, Any]] = []

        def keep(pictures: Sequence[Image.Image]) -> None:
            with folder.staged() as staging:
                edits.extend(save_edits(pictures, folder, staging, self.stem, self.text))

        with OutputFolder(self.output) as folder:
            loaded = self.load()
            config = self._config(loaded)
            start = time.perf_counter()
            try:
                with edit_progress(self.batches, config) as callback:
                    options = {**self.wishes, "callback": callback}
                    pictures = loaded.hiper.edit(loaded.tail, self.prompts, seed=self.seeds, keep=keep, **options)
                    drawings = self.draw(loaded, pictures, options | {"seed": self.seeds[0]})
            except KeyboardInterrupt:
                wanted = len(self.prompts) * len(self.seeds)
                raise KeyboardInterrupt(f"stopped; {len(edits)} of {wanted} pictures are in {folder.path}") from None
            edit_s = time.perf_counter() - start
            with folder.staged() as staging:
                drawn = [save_drawing(drawing, folder, staging, stem) for stem, drawing in drawings]
        say(f"sampled in {edit_s:.1f} s, {config.num_inference_steps} steps a picture")
        facts = {"tail_sha256": loaded.tail.digest, "settings": asdict(config), "edit_s": round(edit_s, 2)}
        facts |= {"edits": edits, "drawings": drawn}
        print_results([*(edit["path"] for edit in edits), *drawn], {**loaded.facts, **facts}, self.as_json)

    def _config(self, loaded: Loaded) -> EditConfig:
        """The settings; what the model cannot do is found before the first picture."""
        try:
            config = choose_edit_config(loaded.recipe, loaded.tail, **self.wishes)
            loaded.timesteps(config.solver, config.num_inference_steps)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        return config

    @property
    def stem(self) -> str:
        """What the names of all results begin with."""
        return subject_stem(self.tail)

    @property
    def batches(self) -> int:
        """How many rounds of sampling there are."""
        prompts = len(self.prompts)
        drawings = (1 + prompts) * self.sheet + (1 + len(STRENGTHS)) * prompts * self.strip
        return batch_count(prompts * len(self.seeds), self.batch_size) + drawings

    def draw(self, loaded: Loaded, pictures: Sequence[Image.Image], options: Mapping[str, Any]) -> Drawings:
        """The drawings asked for, each with the stem of its name."""
        drawings, first = [], pictures[:: len(self.seeds)]
        if self.sheet:
            sheet = comparison(loaded.hiper, loaded.tail, self.prompts, first, **options)
            drawings.append((f"{self.stem}-sheet", sheet))
        if self.strip:
            strip = strength_strip(loaded.hiper, loaded.tail, self.prompts, **options)
            drawings.append((f"{self.stem}-strip", strip))
        return drawings
