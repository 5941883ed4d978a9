"""How a command shows what it is doing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hiper.cli.console import messages

# What is being done, and which part of the work is behind it, 0 to 1.
Report = Callable[[str, float], None]


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Give what moves a bar on stderr, where somebody watches."""
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
