"""`hiper-doctor`: what is installed, how models will run here, and what would add the rest."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from engine.row_kernels import native_status
from hiper.cli.console import reporting
from hiper.cli.gpu_check import check_gpu, lines
from hiper.cli.installation import Capability, capabilities, execution, machine, runtimes
from hiper.cli.options import JsonOption

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

# Latents along a side: the automatic choice of attention depends on it.
MODELS: Final = {"Menagerie, 128 pixels": 16, "Stable Diffusion 1.x, 512 pixels": 64}

EXAMPLES = """
**Examples**

    hiper-doctor

    hiper-doctor --json | jq .runs

    hiper-doctor --tensorrt
"""


@app.command(epilog=EXAMPLES)
@reporting
def doctor(
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Build Menagerie's plans on this GPU instead, check and time them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is installed, how models will run on this machine, and which commands add what is missing."""
    if tensorrt:
        checked = check_gpu()
        typer.echo(json.dumps(checked, indent=2) if as_json else "\n".join(lines(checked)))
        return
    runs = {model: execution(latent_size) for model, latent_size in MODELS.items()}
    facts = {**machine(), "cpus": os.cpu_count(), "gpus": _gpus(), "runs": runs}
    facts |= {"runtimes": runtimes(), "rows": native_status()}
    found = capabilities()
    if as_json:
        typer.echo(json.dumps(facts | {"capabilities": [asdict(one) for one in found]}, indent=2, default=dict))
    else:
        _print(facts, found)


def main() -> None:
    """Entry point."""
    app()


def _gpus() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _print(facts: dict[str, Any], found: list[Capability]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"HiPer {facts['hiper']}, Python {facts['python']}, {facts['system']}")
    console.print(f"{facts['processor']}, {facts['cpus']} CPUs; GPUs: {', '.join(facts['gpus']) or 'none'}\n")
    for model, how in facts["runs"].items():
        words = how.get("problem") or f"{how['device']}, {how['dtype']}, {how['attention']} attention"
        console.print(f"{model}: {words}")
    for name, words in facts["runtimes"].items():
        console.print(f"bundles by {name}: {words}")
    console.print(f"bundles' rows: {facts['rows']}")
    width, shown = max(len(one.name) for one in found), set[str]()
    for one in found:
        console.print(_lines(one, width, shown))
        shown |= one.installed.keys()


def _lines(one: Capability, width: int, shown: set[str]) -> Text:
    """A capability, what it has beside the packages that were shown, and the command that adds the rest."""
    mark = ("✗", "red") if one.missing else ("✓", "green")
    versions = ", ".join(f"{name} {version}" for name, version in one.installed.items() if name not in shown)
    lines = [versions, f"missing: {', '.join(one.missing)}; {one.remedy}" if one.missing else ""]
    indent = "\n" + " " * (width + 3)
    return Text.assemble(
        "\n", mark, (f" {one.name:{width}} ", "bold"), one.purpose, *(indent + line for line in lines if line)
    )
