"""`hiper-edit`: pictures of a subject for any prompt, from its tail alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from hiper.cli.console import reporting
from hiper.cli.options import (
    AttentionOption,
    BundleOption,
    ChannelsLastOption,
    CompileOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    OutputOption,
    PrecisionOption,
    Running,
    RuntimeOption,
    Solver,
    TextOption,
    refuse,
)

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

MAX_SEEDS = 10_000

EXAMPLES = """
**Examples**

    hiper-edit rex.hiper.safetensors "a sitting dog"

    hiper-edit rex.hiper.safetensors "a sitting dog" "a cat" --seeds 0-3 --strength 0.6 -o pictures

    hiper-edit rex.hiper.safetensors "a sitting dog" --strip --sheet --attention-maps

    hiper-edit rex.hiper.safetensors "a sitting dog" --bundle menagerie.bundle
"""

NEED_PYTORCH = ("model", "snapshot", "attention_maps", "device", "dtype", "attention", "channels_last", "compile")
NEED_BUNDLE = ("runtime", "precision")


def parse_seeds(text: str) -> list[int]:
    """Seeds from words like "0", "0,2,5" and "0-3"."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < MAX_SEEDS - len(seeds):
            raise typer.BadParameter(f"{text!r} is no list of up to {MAX_SEEDS} seeds; write 0, or 0,2,5, or 0-3")
        seeds += range(first, last + 1)
    return seeds


def check_route(context: typer.Context, bundle: Path | None) -> None:
    """Refuse options of PyTorch beside `--bundle`, and options of a bundle without it."""
    if bundle is not None:
        refuse(context, NEED_PYTORCH, "needs PyTorch, which --bundle does without; leave one of them out")
        return
    refuse(context, NEED_BUNDLE, "is for bundles; name one with --bundle")
    if context.params["solver"] == "euler":
        raise typer.BadParameter("--solver euler is for bundles; name one with --bundle, or use ddim or dpmpp_2m")


@app.command(epilog=EXAMPLES)
@reporting
def edit(
    context: typer.Context,
    tail: Annotated[Path, typer.Argument(metavar="TAIL", help="What hiper-fit made: NAME.hiper.safetensors.")],
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT", help='What to see: "a sitting dog".')],
    output: OutputOption = Path("."),
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Hub id or folder. [default: menagerie, for tails of it]"),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="SEEDS", help="A picture a seed: 0, or 0,2,5, or 0-3.")] = "0",
    strength: Annotated[
        float | None, typer.Option(min=0, max=10, help="Of the tail; less is freer. [default: the tail's own]")
    ] = None,
    negative: Annotated[str | None, typer.Option(metavar="PROMPT", help="What to lead away from.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, max=100, help="How closely to follow. [default: the model's, else 7.5]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="UNet evaluations a picture. [default: the model's, else 50]")
    ] = None,
    solver: Annotated[Solver, typer.Option(help="dpmpp_2m needs about half the steps; euler is for bundles.")] = "ddim",
    snapshot: Annotated[
        int | None, typer.Option(min=1, metavar="STEP", help="Use the tail of this step of the fit instead.")
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also reconstruction, text alone and edits in a sheet.")
    ] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Also each prompt under rising strengths.")] = False,
    attention_maps: Annotated[
        bool, typer.Option("--attention-maps", help="Also where each word, and the tail, acts.")
    ] = False,
    text: TextOption = True,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    attention: AttentionOption = "auto",
    channels_last: ChannelsLastOption = False,
    compile: CompileOption = False,
    bundle: BundleOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "exact",
) -> None:
    """Make new pictures of a subject: its tail goes behind any prompt; the source picture is not needed."""
    check_route(context, bundle)
    options: dict[str, Any] = {
        "tail": tail,
        "prompts": prompts,
        "output": output,
        "seeds": parse_seeds(seeds),
        "wishes": {
            "tail_strength": strength,
            "negative_prompt": negative,
            "guidance_scale": guidance,
            "num_inference_steps": steps,
            "solver": solver,
        },
        "sheet": sheet,
        "strip": strip,
        "text": text,
        "as_json": as_json,
    }
    # PyTorch takes seconds to load; help and a mistyped option should not, and a bundle never.
    if bundle is not None:
        from hiper.cli.edit_bundle import BundleEditRun

        BundleEditRun(**options, bundle=bundle, runtime=runtime, precision=precision).run()
    else:
        from hiper.cli.edit_torch import TorchEditRun

        running = Running(device, dtype, attention, channels_last, compile)
        TorchEditRun(**options, model=model, running=running, snapshot=snapshot, attention_maps=attention_maps).run()


def main() -> None:
    """Entry point."""
    app()
