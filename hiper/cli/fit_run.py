"""What `hiper-fit` does once its options are understood."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hiper.analysis import comparison
from hiper.cli.console import print_results, say
from hiper.cli.loading import describe, load_hiper
from hiper.cli.names import snapshots_path, subject_stem, tail_path
from hiper.cli.options import Crop, Preset, Running, Subject
from hiper.cli.output_folder import OutputFolder
from hiper.cli.pictures import BATCH_SIZE, batch_count, save_drawing, save_edits
from hiper.cli.progress import edit_progress, fit_progress
from hiper.edit import choose_edit_config
from hiper.errors import OutputError
from hiper.fit import FitConfig, FitError
from hiper.images import SourceImage, load_image
from hiper.loss_curve import loss_curve
from hiper.pipeline import HiPer
from hiper.png import save_png
from hiper.prompts import check_prompts
from hiper.recipe import choose_config
from hiper.snapshot_file import SnapshotError, Snapshots, read_snapshots
from hiper.tail import Tail, load, save

SNAPSHOTS_EVERY = 10


@dataclass(frozen=True)
class FitRun:
    """One call of `hiper-fit`; the fields are its options, `changes` those that replace fields of the FitConfig."""

    images: Sequence[Path]
    prompt: str
    output: Path
    model: str
    running: Running
    edits: Sequence[str]
    sheet: bool
    preset: Preset
    subject: Subject
    crop: Crop
    changes: Mapping[str, Any]
    warm_start: Path | None
    snapshots_every: int | None
    resume: bool
    overwrite: bool
    text: bool
    as_json: bool

    def run(self) -> None:
        """Fit, save the tail, then make the edits: whatever ends the command early leaves what was finished."""
        sources = [load_image(path) for path in self.images]
        init = None if self.warm_start is None else load(self.warm_start)
        with OutputFolder(self.output) as folder:
            self._check_the_way()
            hiper = load_hiper(self.model, self.running)
            config = self._config(hiper)
            tail, facts = self._fit(hiper, sources, config, init, folder)
            facts |= self._edit_or_stop(hiper, tail, sources[0].picture, folder)
        paths = [
            facts["tail"],
            facts["loss_curve"],
            facts["snapshots"],
            *(edit["path"] for edit in facts["edits"]),
            facts["sheet"],
        ]
        print_results([path for path in paths if path], describe(hiper) | facts, self.as_json)

    @property
    def _tail_path(self) -> Path:
        return tail_path(self.output, self.images[0].stem)

    @property
    def _snapshots_path(self) -> Path:
        return snapshots_path(self._tail_path)

    def _check_the_way(self) -> None:
        if self._tail_path.exists() and not self.overwrite:
            raise OutputError(f"{self._tail_path} exists; add --overwrite to replace it, or name another folder")

    def _config(self, hiper: HiPer) -> FitConfig:
        """The recipe; prompts that leave its tail no room are found before the fit, not after."""
        config = choose_config(self.preset, self.subject, hiper.recipe, **self.changes)
        hiper.model.encode_prompt(check_prompts([self.prompt, *self.edits]), config.tail_tokens)
        return config

    def _fit(
        self, hiper: HiPer, sources: list[SourceImage], config: FitConfig, init: Tail | None, folder: OutputFolder
    ) -> tuple[Tail, dict[str, Any]]:
        if self.overwrite and not self.resume:
            self._snapshots_path.unlink(missing_ok=True)
        start = time.perf_counter()
        try:
            with fit_progress(config.steps) as callback:
                tail = hiper.fit(
                    sources,
                    self.prompt,
                    config=config,
                    crop=self.crop,
                    init=init,
                    snapshots=self._snapshots_path,
                    snapshots_every=self.snapshots_every or SNAPSHOTS_EVERY,
                    resume=self.resume,
                    callback=callback,
                )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._how_to_go_on(config.steps)) from None
        except SnapshotError as error:
            raise SnapshotError(f"{error}, as --overwrite does without --resume") from error
        except FitError:
            # Its remedy is another fit, for which the file would be that of a stranger.
            self._drop_snapshots()
            raise
        fit_s = time.perf_counter() - start
        snapshots = read_snapshots(self._snapshots_path)
        say(f"fitted in {fit_s:.1f} s: {_summary(snapshots)}")
        return tail, self._save_fit(tail, snapshots, folder) | {"fit_s": round(fit_s, 2)}

    def _how_to_go_on(self, steps: int) -> str:
        if not self._snapshots_path.exists():
            return "stopped before the first step; nothing was written"
        step = read_snapshots(self._snapshots_path).state.step
        return f"stopped; {self._snapshots_path} keeps {step} of {steps} steps, the same command with --resume goes on"

    def _drop_snapshots(self) -> None:
        """Unless they were asked for."""
        if self.snapshots_every is None:
            self._snapshots_path.unlink(missing_ok=True)

    def _save_fit(self, tail: Tail, snapshots: Snapshots, folder: OutputFolder) -> dict[str, Any]:
        """The tail, its loss curve, and the snapshots if they were asked for."""
        curve = loss_curve([*enumerate(snapshots.losses, start=1)], snapshots.held_out_losses)
        curve_name = f"{subject_stem(self._tail_path)}-loss.png"
        with folder.staged() as staging:
            save(tail, staging / self._tail_path.name)
            save_png(curve, staging / curve_name)
        self._drop_snapshots()
        return {
            "tail": self._tail_path,
            "tail_sha256": tail.digest,
            "loss_curve": folder.path / curve_name,
            "snapshots": None if self.snapshots_every is None else self._snapshots_path,
            "steps": snapshots.state.step,
            "best_step": snapshots.state.best_step,
            "loss": snapshots.losses[-1],
            "held_out_loss": snapshots.held_out_losses.get(snapshots.state.best_step),
        }

    def _edit_or_stop(self, hiper: HiPer, tail: Tail, source: Image.Image, folder: OutputFolder) -> dict[str, Any]:
        if not self.edits:
            return {"edits": [], "sheet": None}
        try:
            return self._edit(hiper, tail, source, folder)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {self._tail_path} is complete, edit with it by hiper-edit") from None

    def _edit(self, hiper: HiPer, tail: Tail, source: Image.Image, folder: OutputFolder) -> dict[str, Any]:
        """The edits, and the sheet that compares them."""
        stem, prompts = subject_stem(self._tail_path), list(self.edits)
        # The sheet also samples the reconstruction and, for each prompt, the text alone.
        batches = batch_count(len(prompts)) + (1 + len(prompts) if self.sheet else 0)
        with edit_progress(batches, choose_edit_config(hiper.recipe, tail)) as callback:
            options = {"seed": self.changes["seed"], "callback": callback}
            pictures = hiper.edit(tail, prompts, batch_size=BATCH_SIZE, **options)
            sheet = comparison(hiper, tail, prompts, pictures, source, **options) if self.sheet else None
        with folder.staged() as staging:
            edits = save_edits(pictures, folder, staging, stem, self.text)
            path = save_drawing(sheet, folder, staging, f"{stem}-sheet") if sheet else None
        return {"edits": edits, "sheet": path}


def _summary(snapshots: Snapshots) -> str:
    state = snapshots.state
    if state.best_step not in snapshots.held_out_losses:
        return f"{state.step} steps"
    return f"{state.step} steps, held-out loss {state.best_loss:.4f} at step {state.best_step}"
