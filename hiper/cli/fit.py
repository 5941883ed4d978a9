"""`hiper-fit`: from one picture and a few words to a tail, and to first edits with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hiper.cli.console import reporting
from hiper.cli.options import (
    AttentionOption,
    ChannelsLastOption,
    CompileOption,
    Crop,
    CudaGraphOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    OutputOption,
    Preset,
    Running,
    Subject,
    TextOption,
)

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

EXAMPLES = """
**Examples**

    hiper-fit rex.jpg "a standing dog" -o rex

    hiper-fit rex.jpg "a standing dog" --edit "a sitting dog" --edit "a dog on the beach" --sheet -o rex

    hiper-fit ada1.jpg ada2.jpg "a woman" --subject person --model stable-diffusion-v1-5/stable-diffusion-v1-5 -o ada
"""


@app.command(epilog=EXAMPLES)
@reporting
def fit(
    images: Annotated[  # optional, since a command line of one word would otherwise be said to lack them
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="Pictures of one subject; one is enough.",
            default_factory=list,
            show_default=False,
        ),
    ],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help='Says what they show, tersely: "a standing dog".')],
    output: OutputOption = Path("."),
    model: ModelOption = "menagerie",
    edit: Annotated[
        list[str] | None, typer.Option(metavar="PROMPT", help="Then make this picture of the subject; may be repeated.")
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Lay source, reconstruction, text alone and edits side by side.")
    ] = False,
    preset: Annotated[Preset, typer.Option(help="fast stops by itself; paper is the paper's recipe.")] = "fast",
    subject: Annotated[Subject, typer.Option(help="People take ten learned rows, others five.")] = "animal",
    crop: Annotated[Crop, typer.Option(help="How a picture becomes a square.")] = "centre",
    seed: Annotated[int, typer.Option(metavar="SEED", min=0, max=2**63 - 1, help="Of all noise.")] = 0,
    steps: Annotated[
        int | None, typer.Option(metavar="STEPS", min=1, help="At most so many. [default: the preset's]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", min=1e-6, help="[default: the preset's]")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option(metavar="TAIL", help="Start from this tail of the same model.")
    ] = None,
    snapshots_every: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="Keep the tails of these steps, to choose from later.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier fit, done or not.")] = False,
    clip_skip: Annotated[int, typer.Option(min=0, help="Layers of the text encoder to leave out.")] = 0,
    text: TextOption = True,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    attention: AttentionOption = "auto",
    channels_last: ChannelsLastOption = False,
    compile: CompileOption = False,
    cuda_graph: CudaGraphOption = False,
) -> None:
    """Learn a subject from a picture as a tail, a few vectors that go behind any prompt."""
    if not images or Path(prompt).is_file():
        pictures = " ".join(map(str, [*images, prompt]))
        raise typer.BadParameter(f'say what the picture shows: hiper-fit {pictures} "a standing dog"')
    # PyTorch takes seconds to load; help and a mistyped option should not.
    from hiper.cli.fit_run import FitRun

    FitRun(
        images=images,
        prompt=prompt,
        output=output,
        model=model,
        running=Running(device, dtype, attention, channels_last, compile, cuda_graph, clip_skip),
        edits=edit or [],
        sheet=sheet,
        preset=preset,
        subject=subject,
        crop=crop,
        changes={"seed": seed, "steps": steps, "learning_rate": learning_rate},
        warm_start=warm_start,
        snapshots_every=snapshots_every,
        resume=resume,
        overwrite=overwrite,
        text=text,
        as_json=as_json,
    ).run()


def main() -> None:
    """Entry point."""
    app()
