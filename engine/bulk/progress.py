"""Progress on stderr: rows done, how fast, how long it will still take; silent where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.rate_column import RateColumn


@contextmanager
def row_progress(what: str, pending: int, done: int) -> Iterator[Callable[[int], None]]:
    """Show rows being done; gives a function to be told how many have failed, once a row.

    Args:
        what: is being done.
        pending: rows to do.
        done: rows that were done before, which tell no rate.
    """
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        RateColumn("row"),
        TimeRemainingColumn(),
    )
    # Over hours, the rate of the last half minute says little.
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300) as progress:
        bar = progress.add_task(what, total=pending, note=f"({done} before)" if done else "")

        def tell(failed: int) -> None:
            progress.advance(bar)
            if failed:
                progress.update(bar, note=f"{failed} failed")

        yield tell
