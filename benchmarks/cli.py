"""`hiper-bench`: measure, show, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hiper.cli.console import reporting, say

UNFINISHED = 3

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)

Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of records, or records.")]


@app.callback()
def hiper_bench() -> None:
    """Benchmarks whose figures can be trusted and repeated."""


@app.command()
@reporting
def run(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Gets records and logs.")],
    suite: Annotated[Literal["quick", "full", "gpu"], typer.Option(help="What to measure.")] = "quick",
    only: Annotated[list[str] | None, typer.Option(metavar="STEP", help="Just this step; may be repeated.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Of this call; call again to go on. [default: 8 for gpu]")
    ] = None,
    device: Annotated[str, typer.Option(help="Of the suite gpu; cpu tries the suite itself.")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="Suite gpu with networks of a few thousand weights.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Name the steps and end.")] = False,
) -> None:
    """Run a suite; what is done in DIR stays done, so that the same command goes on where it ended.

    Exits with 1 if a step failed, and with 3 if steps are left for the next call.
    """
    from benchmarks.gpu import LIMIT_MINUTES, gpu
    from benchmarks.suite import Suite, in_folder
    from benchmarks.suites import full, quick

    steps = gpu(device, tiny) if suite == "gpu" else {"quick": quick, "full": full}[suite]()
    if unknown := set(only or ()) - {step.name for step in steps}:
        raise typer.BadParameter(f"there is no step {min(unknown)!r}; --list names them")
    steps = [step for step in steps if not only or step.name in only]
    if show:
        typer.echo("\n".join(f"{step.name:16} {step.lacking or 'python ' + ' '.join(step.command)}" for step in steps))
        return
    limit = minutes or (LIMIT_MINUTES if suite == "gpu" else None)
    running = Suite(suite, in_folder(steps, output), output, say)
    try:
        complete = running.run(limit)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(output)
    raise typer.Exit(1 if running.failed() else 0 if complete else UNFINISHED)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
