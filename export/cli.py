"""`hiper-export`: from a model to a bundle, which edits without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from engine.runtimes.buckets import BUCKETS
from hiper.cli.console import reporting
from hiper.cli.options import named, refuse

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

_PLANS = "TensorRT"
_NEED_TENSORRT = ("rows", "level", "workspace_gib", "timing_cache", "device")
_CONFIG = ("precision", "keep_fp32", "sizes")

EXAMPLES = """
**Examples**

    hiper-export menagerie -o menagerie.bundle

    hiper-export stable-diffusion-v1-5/stable-diffusion-v1-5 -o sd15.bundle --precision fp16

    hiper-export menagerie -o menagerie.bundle --tensorrt
"""


@app.command(epilog=EXAMPLES)
@reporting
def export(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Hub id or folder, or menagerie.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="The folder to make.")],
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"], typer.Option(help="Of UNet and VAE; fp32 for CPUs, which lower it themselves.")
    ] = "fp32",
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="HxW", help="Of the images; several leave it open. [default: the model's own]"),
    ] = None,
    keep_fp32: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK", help="Stays in fp32, where less is too little.")
    ] = None,
    clip_skip: Annotated[int, typer.Option(min=0, help="Layers of the text encoder to leave out.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Also plans for this GPU; a bundle that is there only gets plans.")
    ] = False,
    rows: Annotated[
        list[int] | None, typer.Option(help="UNet rows in one call.  [default: 1 2 4 8 16 32]", rich_help_panel=_PLANS)
    ] = None,
    level: Annotated[
        int, typer.Option(min=0, max=5, help="How long to look for faster kernels.", rich_help_panel=_PLANS)
    ] = 3,
    workspace_gib: Annotated[
        float | None, typer.Option(min=0, help="Memory for kernels. [default: all]", rich_help_panel=_PLANS)
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep kernel times for the next build.", rich_help_panel=_PLANS)
    ] = None,
    device: Annotated[int, typer.Option(min=0, help="Index of the GPU.", rich_help_panel=_PLANS)] = 0,
    check: Annotated[
        bool,
        typer.Option("--check", help="Let Polygraphy compare the files, and the plans of --tensorrt, with PyTorch."),
    ] = False,
) -> None:
    """Export a model's networks to files that run without PyTorch, each compared with PyTorch first."""
    if not tensorrt:
        refuse(context, _NEED_TENSORRT, "is for plans; add --tensorrt")
    # PyTorch takes seconds to load; help and a mistyped option should not.
    from export.config import ExportConfig, PlanConfig, parse_size
    from export.run import ExportRun

    workspace_bytes = None if workspace_gib is None else int(workspace_gib * 2**30)
    try:
        config = ExportConfig(precision, tuple(keep_fp32 or ()), tuple(map(parse_size, sizes or ())))
        plans = PlanConfig(tuple(rows or BUCKETS), level, workspace_bytes, timing_cache, device) if tensorrt else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    ExportRun(model, output, config, named(context, _CONFIG), clip_skip, force, plans, check).run()
    typer.echo(output)


def main() -> None:
    """Entry point."""
    app()
