"""`hiper-triton`: from a bundle to a Triton model repository; needs no PyTorch, no model and no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export.progress import progress_bar
from export.termination import ending_cleanly
from export.triton.model_config import PLATFORMS
from export.triton.repository import lay_out
from hiper.cli.console import reporting, say

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

EXAMPLES = """
**Examples**

    hiper-triton sd15.bundle -o models

    hiper-triton sd15.bundle -o models --tensorrt 10.14.1.48
"""


@app.command(epilog=EXAMPLES)
@reporting
def triton(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What hiper-export wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPOSITORY", help="The folder to make.")],
    tensorrt: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Lay out plans, for a server with this TensorRT.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a repository of these models that is there.")] = False,
) -> None:
    """Lay a bundle's networks out as a model repository for NVIDIA's Triton Inference Server."""
    with ending_cleanly(), progress_bar() as report:
        configs = lay_out(bundle, output, tensorrt=tensorrt, force=force, report=report)
    for config in configs:
        say(f"{config.name}: {PLATFORMS[config.backend]}, up to {config.max_rows} rows in a call")
    typer.echo(output)


def main() -> None:
    """Entry point."""
    app()
