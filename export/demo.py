"""`make demo`: fits an animal that no training saw, edits it in PyTorch and in the engine, and shows the truth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from engine.bundle import Bundle, open_bundle
from engine.bundle_files import read_manifest
from engine.errors import BundleError
from engine.tail_file import read_tail_file
from export.build import build_bundle
from export.config import ExportConfig
from hiper.analysis import Editing
from hiper.cli.bundle_edits import BundleEdits
from hiper.cli.console import messages, print_results, reporting, say
from hiper.cli.loading import load_hiper
from hiper.cli.names import tail_path
from hiper.cli.options import ModelOption, OutputOption, Running
from hiper.cli.output_folder import OutputFolder
from hiper.cli.progress import edit_progress, fit_progress
from hiper.edit import EditConfig, Subject, choose_edit_config
from hiper.menagerie.captions import terse_caption
from hiper.menagerie.render import render
from hiper.menagerie.world import PLACES, POSES, SPECIES, Content, Framing, Identity, held_out
from hiper.models import load_model
from hiper.pipeline import HiPer
from hiper.png import save_png
from hiper.recipe import choose_config
from hiper.sheet import contact_sheet
from hiper.tail import Tail, save

COLUMNS = ("source", "text alone", "HiPer", "HiPer, engine", "ground truth")

Pictures = list[Image.Image]

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
        # In fp32, as the bundle: the two ways shall differ in nothing but what computes.
        hiper = load_hiper(model, Running("auto", "fp32", "auto", channels_last=False, compile=False))
        source = _picture(hiper, identity, content, framing)
        tail = _fit(hiper, source, terse_caption(content))
        targets = three_edits(content)
        truths = [_picture(hiper, identity, target, framing) for target in targets]
        with folder.staged() as staging:
            save(tail, tail_path(staging, "animal"))
            save_png(source, staging / "animal.png")
        prompts, config = [terse_caption(target) for target in targets], choose_edit_config(hiper.recipe, tail)
        alone, edits = (_edit("PyTorch", hiper, one, prompts, config) for one in (None, tail))
        bundle = BundleEdits(_bundle(model, hiper.model.digest, output / "bundle"))
        with messages().status("loading the bundle"):
            bundle.edit(None, prompts, num_inference_steps=1)
        animal_tail = read_tail_file(tail_path(output, "animal"))
        again = _edit("the engine", bundle, animal_tail, prompts, config, batches=len(prompts))
        with folder.staged() as staging:
            rows = [[source, *row] for row in zip(alone, edits, again, truths, strict=True)]
            save_png(_sheet(content, targets, rows), staging / "sheet.png")
    say(f"largest difference between the two: {_difference(edits, again)} of 255")
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


def _edit(
    where: str, hiper: Editing, tail: Subject | None, prompts: list[str], config: EditConfig, batches: int = 1
) -> Pictures:
    """Pictures of the text alone, or with the tail, from the same noise; the engine reports each picture's steps."""
    what = "the text alone" if tail is None else "HiPer"
    with _timed(f"{len(prompts)} pictures of {what} in {where}"), edit_progress(batches, config) as callback:
        return hiper.edit(tail, prompts, callback=callback, **asdict(config))


def _bundle(model: str, digest: str, folder: Path) -> Bundle:
    """The model's bundle, which is made once and kept until the model is another one."""
    if not _is_of(folder, digest):
        with _timed("export, once"), messages().status("exporting") as status:
            # Afresh, since the other one may be on a GPU by now.
            loaded = load_model(model)
            build_bundle(
                loaded, folder, ExportConfig(), (model,), force=True, report=lambda what, done: status.update(what)
            )
    bundle = open_bundle(folder)
    say(f"the engine runs by {bundle.runtime}: {bundle.reason}")
    return bundle


def _is_of(folder: Path, digest: str) -> bool:
    try:
        return read_manifest(folder).model_digest == digest
    except BundleError:
        return False


def _difference(first: Pictures, second: Pictures) -> int:
    return max(
        int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())
        for one, other in zip(first, second, strict=True)
    )


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
