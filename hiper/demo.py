"""`make demo`: fits an animal that no training saw, edits it three times, and shows the truth beside the edits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from hiper.cli.console import print_results, reporting, say
from hiper.cli.loading import load_hiper
from hiper.cli.names import tail_path
from hiper.cli.options import ModelOption, OutputOption, Running
from hiper.cli.output_folder import OutputFolder
from hiper.cli.pictures import BATCH_SIZE, batch_count
from hiper.cli.progress import edit_progress, fit_progress
from hiper.edit import choose_edit_config
from hiper.menagerie.captions import terse_caption
from hiper.menagerie.render import render
from hiper.menagerie.world import PLACES, POSES, SPECIES, Content, Framing, Identity, held_out
from hiper.pipeline import HiPer
from hiper.png import save_png
from hiper.recipe import choose_config
from hiper.sheet import contact_sheet
from hiper.tail import Tail, save

COLUMNS = ("source", "text alone", "HiPer", "ground truth")

app = typer.Typer(add_completion=False)


@app.command()
@reporting
def demo(
    model: ModelOption = "menagerie",
    output: OutputOption = Path("demo"),
    animal: Annotated[int, typer.Option(min=0, help="Which held-out animal.")] = 0,
) -> None:
    """Fit one picture of an animal, then change its pose, its place and its species."""
    start = time.perf_counter()
    identity, content, framing = held_out(animal)
    with OutputFolder(output) as folder:
        hiper = load_hiper(model, Running("auto", "auto", "auto", channels_last=False, compile=False))
        source = _picture(hiper, identity, content, framing)
        tail = _fit(hiper, source, terse_caption(content))
        targets = three_edits(content)
        alone, edits = _edit(hiper, tail, [terse_caption(target) for target in targets])
        truths = [_picture(hiper, identity, target, framing) for target in targets]
        with folder.staged() as staging:
            save(tail, tail_path(staging, "animal"))
            save_png(source, staging / "animal.png")
            save_png(
                _sheet(content, targets, [[source, *row] for row in zip(alone, edits, truths, strict=True)]),
                staging / "sheet.png",
            )
    say(f"{time.perf_counter() - start:.0f} s in all; the subject is a tail of {tail.vectors.nbytes} bytes")
    print_results([output / "sheet.png"], {}, as_json=False)


def three_edits(content: Content) -> list[Content]:
    """The same animal in another pose, at another place, and as another species."""
    return [
        replace(content, pose=_after(content.pose, POSES)),
        replace(content, place=_after(content.place, PLACES)),
        replace(content, species=_after(content.species, SPECIES)),
    ]


def _after(value: str, options: tuple[str, ...]) -> str:
    return options[(options.index(value) + 1) % len(options)]


def _picture(hiper: HiPer, identity: Identity, content: Content, framing: Framing) -> Image.Image:
    return Image.fromarray(render(identity, content, framing, hiper.model.image_size))


def _fit(hiper: HiPer, source: Image.Image, prompt: str) -> Tail:
    config = choose_config("fast", "animal", hiper.recipe)
    with _timed(f'fit of "{prompt}"'), fit_progress(config.steps) as callback:
        return hiper.fit(source, prompt, config=config, callback=callback)


def _edit(hiper: HiPer, tail: Tail, prompts: list[str]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Pictures of the text alone and with the tail, from the same noise."""
    with (
        _timed(f"{2 * len(prompts)} pictures"),
        edit_progress(2 * batch_count(len(prompts)), choose_edit_config(hiper.recipe, tail)) as callback,
    ):
        alone, edits = (hiper.edit(one, prompts, batch_size=BATCH_SIZE, callback=callback) for one in (None, tail))
    return alone, edits


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    say(f"{what}: {time.perf_counter() - start:.1f} s")


def _sheet(content: Content, targets: list[Content], rows: list[list[Image.Image]]) -> Image.Image:
    return contact_sheet(
        rows,
        columns=COLUMNS,
        rows=[terse_caption(target) for target in targets],
        title=f'One picture, "{terse_caption(content)}", and three edits of it',
    )


if __name__ == "__main__":
    app()
