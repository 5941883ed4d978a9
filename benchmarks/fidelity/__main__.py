"""Measure how faithful edits are on Menagerie; and, before that, whether the model is worth it.

python -m benchmarks.fidelity run --publish
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.fidelity import gate as model_gate
from benchmarks.fidelity.cases import held_out_case
from benchmarks.fidelity.methods import Setting
from benchmarks.fidelity.page import is_headline, picture_path, table, write_page
from benchmarks.fidelity.run import METHODS, Part, read_pictures, read_scores, read_work_s, run, split
from benchmarks.fidelity.sheet import fidelity_sheet
from benchmarks.fidelity.studio import Settings, open_studio
from benchmarks.fidelity.summary import summarise
from benchmarks.record import RECORDS, ROOT, write_record
from hiper.model_folder import find_folder, weights_digest
from hiper.recipe import choose_config, read_recipe

QUESTION = "Which editor gives what was asked and keeps the animal, on held-out animals whose edits can be rendered?"
GATE_QUESTION = "Does this model draw what a caption says, and can the probe be trusted to tell?"
SHEET_ROWS = 8

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

Model = Annotated[str, typer.Option(help="menagerie, or a folder of its layout with probe.safetensors")]
Guidance = Annotated[float | None, typer.Option(help="the model's recipe if not given")]
Name = Annotated[str, typer.Option(help="of the record and its pictures; the model's if not given")]
Publish = Annotated[bool, typer.Option(help="write to benchmarks/records and docs instead of the work folder")]
Folder = Annotated[Path, typer.Option(help="where parts are kept, so that a run that was cut off goes on")]
Records = Annotated[Path | None, typer.Option(help="write record, page and pictures to this folder instead")]
FOLDER = ROOT / "build" / "fidelity"


@app.command("run")
def run_all(
    model: Model = "menagerie",
    identities: Annotated[int, typer.Option(help="held-out animals", min=1)] = 50,
    seeds: Annotated[int, typer.Option(help="pictures per edit", min=1)] = Settings.seeds,
    methods: Annotated[str, typer.Option(help=f"of {','.join(METHODS)}")] = ",".join(METHODS),
    first: Annotated[int, typer.Option(help="index of the first animal; tune on others than are reported")] = 0,
    token_cases: Annotated[int, typer.Option(help="animals in the curve over tail tokens")] = Settings.token_cases,
    workers: Annotated[int, typer.Option(help="processes of one thread each", min=1)] = 1,
    learning_rate: Annotated[float | None, typer.Option(help="of HiPer; the model's recipe if not given")] = None,
    steps: Annotated[int | None, typer.Option(help="of HiPer; the model's recipe if not given")] = None,
    tail_strength: Annotated[float | None, typer.Option(help="the model's recipe if not given", min=0.01)] = None,
    guidance_scale: Guidance = None,
    num_inference_steps: int = Settings.num_inference_steps,
    inversion_learning_rate: float = Settings.inversion_learning_rate,
    imagic_learning_rate: float = Settings.imagic_learning_rate,
    name: Name = "",
    folder: Folder = FOLDER,
    publish: Publish = False,
    records: Records = None,
) -> None:
    """Make and judge every method's edits; a record, curves, a contact sheet and a page."""
    recipe = read_recipe(find_folder(model))
    fit = choose_config("fast", "animal", recipe)
    settings = replace(
        _settings(model, guidance_scale),
        fit=replace(fit, learning_rate=learning_rate or fit.learning_rate, steps=steps or fit.steps),
        tail_strength=tail_strength or recipe.tail_strength or Settings.tail_strength,
        seeds=seeds,
        token_cases=token_cases,
        num_inference_steps=num_inference_steps,
        inversion_learning_rate=inversion_learning_rate,
        imagic_learning_rate=imagic_learning_rate,
    )
    folder = _run_folder(folder, settings)
    parts = split(_checked(methods.split(",")), first, identities)
    _work(settings, folder, parts, workers)
    results = summarise(read_scores(folder, parts)) | {"work_s": read_work_s(folder, parts)}
    shown = {"first": first, "identities": identities, **asdict(settings)}
    name = f"fidelity-{name or _name(model)}"
    target = records or (RECORDS if publish else folder)
    path = write_record(name, QUESTION, shown, results, target, model_digest=settings.digest)
    _write_sheet(folder, parts, picture_path(path, "sheet"))
    Console().print(Markdown(table([row for row in results["settings"] if is_headline(row)])))
    Console().print(f"record: {path}\npage: {write_page(path)}")


@app.command("page")
def page(record: Annotated[Path, typer.Argument(help="JSON, as `run` writes it")]) -> None:
    """Draw the curves of a record and write its page again."""
    Console().print(f"page: {write_page(record)}")


@app.command("gate")
def check_model(
    model: Model = "menagerie",
    samples: Annotated[int, typer.Option(help="held-out captions", min=2)] = 256,
    guidance_scale: Guidance = None,
    name: Name = "",
    folder: Folder = FOLDER,
    publish: Publish = False,
    records: Records = None,
) -> None:
    """Measure autoencoder, probe and pictures from text; exits with 1 if one of them is not good enough."""
    settings = _settings(model, guidance_scale)
    results, sheet = model_gate.measure(open_studio(settings), samples)
    name, shown = f"fidelity-gate-{name or _name(model)}", {"samples": samples, **asdict(settings)}
    target = records or (RECORDS if publish else _run_folder(folder, settings))
    path = write_record(name, GATE_QUESTION, shown, results, target, model_digest=settings.digest)
    sheet.save(picture_path(path, "sheet"), optimize=True)
    Console().print_json(data=results)
    found = model_gate.failures(results)
    for sentence in found:
        Console(stderr=True).print(sentence)
    raise typer.Exit(bool(found))


def _settings(model: str, guidance_scale: float | None) -> Settings:
    """What decides the pictures of every command."""
    folder = find_folder(model)
    return Settings(
        model=model,
        digest=weights_digest(folder),
        probe_digest=hashlib.sha256((folder / "probe.safetensors").read_bytes()).hexdigest(),
        guidance_scale=guidance_scale or read_recipe(folder).guidance_scale or Settings.guidance_scale,
    )


def _name(model: str) -> str:
    return Path(model).resolve().name


def _run_folder(folder: Path, settings: Settings) -> Path:
    """Another for all other settings, so that parts of different runs never mix."""
    described = json.dumps(asdict(settings), indent=1)
    folder = folder / hashlib.sha256(described.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(described)
    return folder


def _checked(methods: list[str]) -> list[str]:
    if unknown := [method for method in methods if method not in METHODS]:
        raise typer.BadParameter(f"there is no method {unknown[0]!r}; use some of {', '.join(METHODS)}")
    return methods


def _work(settings: Settings, folder: Path, parts: list[Part], workers: int) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("parts", total=len(parts))
        for part in run(settings, folder, parts, workers):
            progress.update(task, advance=1, description=part.method)


def _write_sheet(folder: Path, parts: Sequence[Part], path: Path) -> None:
    """Nothing where text alone and HiPer were not both made."""
    if {"text", "hiper"} <= {part.method for part in parts}:
        indices = [index for part in parts if part.method == "hiper" for index in part.indices][:SHEET_ROWS]
        pictures = [read_pictures(folder, parts, Setting(method)) for method in ("text", "hiper")]
        fidelity_sheet([held_out_case(index) for index in indices], *pictures).save(path, optimize=True)


if __name__ == "__main__":
    app()
