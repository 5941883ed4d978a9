"""Progress on stderr: what is done, how fast, how long it will still take; silent where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.rate_column import RateColumn
from hiper.cli.console import messages

if TYPE_CHECKING:
    from hiper.edit import EditConfig
    from hiper.fit import FitProgress


@contextmanager
def fit_progress(steps: int) -> Iterator[Callable[[FitProgress], None]]:
    """Show a fit of at most `steps` steps; gives the callback for `HiPer.fit`."""
    with _progress() as progress:
        task = progress.add_task("fitting", total=steps, note="")
        held_out = ""

        def show(step: FitProgress) -> None:
            nonlocal held_out
            if step.held_out_loss is not None:
                held_out = f", held out {step.held_out_loss:.4f}"
            if not progress.tasks[task].completed:
                progress.reset(task, completed=step.step)  # steps made before an interruption tell no rate
            progress.update(task, completed=step.step, note=f"loss {step.loss:.4f}{held_out}")

        yield show


@contextmanager
def edit_progress(batches: int, config: EditConfig) -> Iterator[Callable[..., None]]:
    """Show the sampling of so many batches, or pictures where each reports its own; gives the callback for `edit`."""
    with _progress() as progress:
        task = progress.add_task("sampling", total=batches * config.num_inference_steps, note="")

        def show(*_: Any) -> None:
            progress.advance(task)

        yield show


def _progress() -> Progress:
    console = messages()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        RateColumn("step"),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
