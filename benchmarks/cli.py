"""`hiper-bench`: measure, show, compare."""

from __future__ import annotations

import signal
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
    only: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Just this step, even if it is done; may be repeated.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Of this call; call again to go on. [default: 8 for gpu]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of the suite gpu; cpu tries the suite itself. [default: cuda]")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Suite gpu with networks of a few thousand weights.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Name the steps and end.")] = False,
) -> None:
    """Run a suite; what is done in DIR stays done, so that the same command goes on where it ended.

    Exits with 3 if steps are left that were never tried, so call again; else with 1 if a step failed, which the next
    call tries again.
    """
    from benchmarks.gpu import LIMIT_MINUTES, gpu
    from benchmarks.suite import Suite, in_folder
    from benchmarks.suites import full, quick

    if suite != "gpu" and (device or tiny):
        raise typer.BadParameter(f"--device and --tiny are for --suite gpu, not {suite}; leave them out")
    steps = gpu(device or "cuda", tiny) if suite == "gpu" else {"quick": quick, "full": full}[suite]()
    if unknown := set(only or ()) - {step.name for step in steps}:
        raise typer.BadParameter(f"there is no step {min(unknown)!r}; --list names them")
    if show:
        shown = [step for step in steps if not only or step.name in only]
        typer.echo("\n".join(f"{step.name:16} {step.lacking or 'python ' + ' '.join(step.command)}" for step in shown))
        return
    limit = minutes or (LIMIT_MINUTES if suite == "gpu" else None)
    running = Suite(suite, in_folder(steps, output), output, say, only or ())
    # Steps are in sessions of their own; ending this process must end them, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        complete = running.run(limit)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(output)
    raise typer.Exit(UNFINISHED if not complete else 1 if running.failed() else 0)


@app.command()
@reporting
def report(
    folders: Folders,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Of report.html and report.md. [default: first DIR]"),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write tables between the marks of a document instead of a report."),
    ] = None,
) -> None:
    """Make one page of records: the newest of each script and model, and the older ones over commits."""
    from benchmarks.report.build import write_report
    from benchmarks.report.readme import update_readme

    if readme is not None:
        changed = update_readme(readme, folders)
        say(f"{readme} {'is changed' if changed else 'was up to date'}")
        return
    first = folders[0] if folders[0].is_dir() else folders[0].parent
    typer.echo("\n".join(map(str, write_report(folders, output or first))))


@app.command()
@reporting
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Folder of records, or a record.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The same, measured later.")],
    threshold: Annotated[float, typer.Option(min=0, help="Share by which the same figure may differ.")] = 0.05,
    every: Annotated[bool, typer.Option("--all", help="Show figures that stayed the same, too.")] = False,
) -> None:
    """Say of every figure whether B is better, worse or the same; exits with 1 if one is worse, gone or failed."""
    from benchmarks import compare as comparison
    from benchmarks.report.markdown import markdown_table
    from benchmarks.report.records import newest, read_records

    older, newer = read_records([before]), read_records([after])
    changes = comparison.compare(older, newer, threshold)
    typer.echo(markdown_table(comparison.table(changes, every)))
    failed = {f"{record.name}: {side}": reason for record in newest(newer) for side, reason in record.errors.items()}
    for side, reason in failed.items():
        say(f"{side} failed: {reason}")
    raise typer.Exit(bool(failed) or any(change.verdict in ("worse", "gone") for change in changes))


@app.command()
@reporting
def fidelity(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset, as its authors lay it out.")],
    dataset: Annotated[Literal["tedbench", "editeval", "dreambench"], typer.Option(help="Whose layout it has.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Gets pictures, tails and the record.")],
    model: Annotated[
        str, typer.Option(help="Hub id or folder that edits what is missing; none judges what is there.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Pictures per wish.")] = 1,
    metric: Annotated[
        list[str] | None, typer.Option(help="clip_t, clip_i, dinov2 or lpips; may be repeated. [default: all]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first subjects.")] = None,
    source_prompt: Annotated[str, typer.Option(help="Where the dataset has none, as TEdBench.")] = "",
    clip: Annotated[str, typer.Option(help="Hub id or folder.")] = "openai/clip-vit-large-patch14",
    dinov2: Annotated[str, typer.Option(help="Hub id or folder.")] = "facebook/dinov2-base",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Edit a published dataset with real weights, and judge the edits by CLIP, DINOv2 and LPIPS.

    Menagerie has a benchmark of its own, which knows the truth: python -m benchmarks.fidelity.
    """
    from benchmarks.images.metrics import METRICS, Judge
    from benchmarks.images.run import Run
    from benchmarks.images.run import run as run_images

    try:
        asked = Run(dataset, folder, output, model, seeds, tuple(metric or METRICS), limit, source_prompt)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(run_images(asked, Judge(clip, dinov2, device), say))


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
