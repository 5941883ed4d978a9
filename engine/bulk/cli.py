"""`hiper-bulk`: a table's rows to tails or pictures."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.server.console import reporting
from engine.server.settings import Runtime

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)

ABOUT = """
Do thousands of fits or edits from a table, on one machine or a cluster.

The table is CSV, JSON lines or Parquet with a header. Nothing starts before every row was checked. What was finished
stays finished, however the command ends: the same command goes on with the rest, and tries failed rows again.
"""

EXAMPLES = """
**Examples**

    hiper-bulk fit dogs.csv -o tails             # id,image,prompt

    hiper-bulk edit wishes.csv -o pictures       # id,prompt,tail

    hiper-bulk edit wishes.csv -o pictures --tail rex.hiper.safetensors     # id,prompt

    hiper-bulk edit wishes.parquet -o pictures --dry-run
"""

FIT_EXAMPLES = """
**Columns**: id, image (path, relative to the table), prompt; and if you like name (of the result; the id), preset
(fast, paper), subject (animal, object, person), crop (centre, pad, stretch), seed, steps, learning_rate.

**Examples**

    hiper-bulk fit dogs.csv -o tails

    hiper-bulk fit people.parquet -o tails --model stable-diffusion-v1-5/stable-diffusion-v1-5 --json

    hiper-bulk fit dogs.csv -o /shared/tails --ray-address auto --workers 8

**Results**: FOLDER/ID.hiper.safetensors, results.csv, and failures.csv if any row failed.
"""

EDIT_EXAMPLES = """
**Columns**: id, prompt, tail (path, relative to the table); and if you like name (of the result; the id), seed,
negative_prompt, tail_strength, guidance_scale, num_inference_steps, solver (ddim, dpmpp_2m, euler).

**Examples**

    hiper-bulk edit wishes.csv -o pictures

    hiper-bulk edit prompts.csv -o pictures --tail rex.hiper.safetensors --in-flight 32

    hiper-bulk edit wishes.csv -o pictures --bundle sd15.bundle --runtime tensorrt --precision fast

**Results**: FOLDER/ID.png, results.csv, and failures.csv if any row failed.
"""

_SPEED = "How it runs"

TableArgument = Annotated[Path, typer.Argument(metavar="TABLE", help=".csv, .jsonl, .ndjson or .parquet.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the results go.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Check the table, say what there is to do, and end.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a path.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Devices to use. [default: all GPUs, else 1]", rich_help_panel=_SPEED)
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads a worker. [default: shared out]", rich_help_panel=_SPEED)
]
AddressOption = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Of a Ray cluster, whose machines see table, files and FOLDER under the same paths. [default: none, "
        "Ray is started here]",
        show_default=False,
        rich_help_panel=_SPEED,
    ),
]


@app.callback(help=ABOUT, epilog=EXAMPLES)
def bulk() -> None:
    """Do thousands of fits or edits."""


@app.command(epilog=FIT_EXAMPLES)
@reporting
def fit(
    table: TableArgument,
    output: OutputOption,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Hub id or folder, or menagerie.")] = "menagerie",
    dry_run: DryOption = False,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: Annotated[str, typer.Option(help="For PyTorch.", rich_help_panel=_SPEED)] = "auto",
    dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Of the UNet.", rich_help_panel=_SPEED)
    ] = "auto",
    ray_address: AddressOption = "",
) -> None:
    """Fit every row's picture: one tail a row."""
    from engine.bulk.commands import fit_run
    from engine.bulk.fit_worker import FitOptions
    from engine.bulk.fleet import Fleet

    fleet = Fleet(ray_address, workers, 1, threads)
    _start(fit_run(table, output, FitOptions(model, device, dtype), fleet, as_json), dry_run)


@app.command(epilog=EDIT_EXAMPLES)
@reporting
def edit(
    table: TableArgument,
    output: OutputOption,
    tail: Annotated[Path | None, typer.Option(metavar="FILE", help="For rows that name none.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="What hiper-export made. [default: that of --model]")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Exported at the first start. [default: menagerie]")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of hiper-serve, for exported models.")
    ] = None,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Rows in one worker's batch at once.", rich_help_panel=_SPEED)
    ] = 16,
    threads: ThreadsOption = None,
    runtime: Annotated[Runtime, typer.Option(help="auto takes the fastest here.", rich_help_panel=_SPEED)] = "auto",
    precision: Annotated[
        Literal["exact", "fast"],
        typer.Option(help="fast permits bfloat16 inside an fp32 bundle.", rich_help_panel=_SPEED),
    ] = "exact",
    timeout_s: Annotated[
        float, typer.Option(min=1, help="After which a row has failed.", rich_help_panel=_SPEED)
    ] = 7200.0,
    ray_address: AddressOption = "",
) -> None:
    """Make every row's picture: its tail behind its prompt. Many rows share each call of the UNet."""
    from engine.bulk.commands import EditOptions, edit_run
    from engine.bulk.fleet import Fleet

    options = EditOptions(tail, bundle, model, data_dir, runtime, precision, timeout_s)
    with _warnings_in_words():
        run = edit_run(table, output, options, Fleet(ray_address, workers, in_flight, threads), as_json)
    _start(run, dry_run)


@contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Tell of tails for other weights, without a place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _start(run: Any, dry_run: bool) -> None:
    if dry_run:
        run.preview()
        return
    # To be terminated is to be interrupted: whatever is under way ends, and the tables are written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run.run()


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
