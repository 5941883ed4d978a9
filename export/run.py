"""What `hiper-export` does once its options are understood."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine.manifest import Manifest
from export.build import Report, build_bundle
from export.config import ExportConfig
from hiper.cli.console import messages, say
from hiper.models import load_model


def export_model(model: str, folder: Path, config: ExportConfig, clip_skip: int, force: bool) -> Manifest:
    """Load a model and build its bundle, with a bar on stderr where somebody watches."""
    arguments = (model, *config.arguments(), *([f"--clip-skip={clip_skip}"] if clip_skip else []))
    with _ending_cleanly(), _progress() as report:
        report(f"loading {model}", 0.0)
        loaded = load_model(model, clip_skip=clip_skip)
        manifest = build_bundle(loaded, folder, config, arguments, force=force, report=report)
    for name, artifact in manifest.networks.items():
        size = sum(file.size_bytes for file in artifact.files) / 2**20
        say(f"{name}: {size:.1f} MiB in {artifact.precision}, {artifact.relative_error:.1e} from PyTorch")
    say(f"one whole edit: {manifest.edit_psnr_db:.1f} dB from PyTorch")
    return manifest


@contextmanager
def _progress() -> Iterator[Report]:
    console = messages()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, done: progress.update(task, description=what, completed=done)


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that an unfinished folder goes."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt("terminated; nothing was written")

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
