"""Options that several commands share. The choices repeat those of modules that load PyTorch; a test compares them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

Attention = Literal["auto", "xformers", "sdpa", "cudnn", "plain"]
Crop = Literal["centre", "pad", "stretch"]
Dtype = Literal["auto", "fp32", "bf16", "fp16"]
Precision = Literal["exact", "fast"]
Preset = Literal["fast", "paper"]
Runtime = Literal["auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino", "tensorrt"]
Solver = Literal["ddim", "dpmpp_2m", "euler"]
Subject = Literal["animal", "object", "person"]

_RUNNING = "How it runs"
_BUNDLE = "Without PyTorch"

ModelOption = Annotated[
    str, typer.Option(metavar="MODEL", help="Hub id or folder of a Stable Diffusion 1.x or 2.x, or menagerie.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the results go.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of paths.")]
TextOption = Annotated[bool, typer.Option("--text/--no-text", help="Keep prompt, digests, seed, settings in PNGs.")]

DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=_RUNNING)]
DtypeOption = Annotated[Dtype, typer.Option(help="Precision of the UNet.", rich_help_panel=_RUNNING)]
AttentionOption = Annotated[Attention, typer.Option(help="Attention in the UNet.", rich_help_panel=_RUNNING)]
ChannelsLastOption = Annotated[
    bool, typer.Option("--channels-last", help="Keep feature maps as NHWC.", rich_help_panel=_RUNNING)
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the UNet; pays off in long runs.", rich_help_panel=_RUNNING)
]
CudaGraphOption = Annotated[
    bool, typer.Option("--cuda-graph", help="Record a fit step once and replay it.", rich_help_panel=_RUNNING)
]

BundleOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="What hiper-export made; runs without PyTorch.", rich_help_panel=_BUNDLE),
]
RuntimeOption = Annotated[Runtime, typer.Option(help="auto takes the fastest here.", rich_help_panel=_BUNDLE)]
PrecisionOption = Annotated[
    Precision, typer.Option(help="fast permits bfloat16 inside an fp32 bundle.", rich_help_panel=_BUNDLE)
]


def named(context: typer.Context, parameters: Iterable[str]) -> list[str]:
    """Those of a command's parameters that its command line names, whatever their values."""
    sources = {name: context.get_parameter_source(name) for name in parameters}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def refuse(context: typer.Context, parameters: Iterable[str], why: str) -> None:
    """End with a usage error if the command line names one of these parameters; `why` goes on after its name."""
    for name in named(context, parameters):
        raise typer.BadParameter(f"--{name.replace('_', '-')} {why}")


@dataclass(frozen=True)
class Running:
    """How the model runs; as in HiPer.from_pretrained."""

    device: str
    dtype: Dtype
    attention: Attention
    channels_last: bool
    compile: bool
    cuda_graph: bool = False
    clip_skip: int = 0
