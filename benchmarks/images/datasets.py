"""Reads published collections of pictures and wishes, each in the layout in which its authors publish it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.optional import optional
from engine.errors import HiPerError

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


class DatasetError(HiPerError):
    """A folder is not laid out as its dataset is published."""

    exit_code = 19


@dataclass(frozen=True)
class Subject:
    """A picture and what is wished of it.

    Attributes:
        name: unique, usable as the name of a folder.
        group: its kind of edit or of subject.
        image: path of the picture.
        source_prompt: describes it in a few words; empty where the dataset does not say.
        target_prompts: the wishes.
    """

    name: str
    group: str
    image: Path
    source_prompt: str
    target_prompts: tuple[str, ...]


def read_tedbench(folder: Path) -> list[Subject]:
    """TEdBench (Kawar et al. 2023): `input_list.json` and `originals/`.

    It has no source prompts; `source_prompts.json` beside it, an object of prompts by name of picture, may give them.
    """
    path = folder / "input_list.json"
    prompts = _json(folder / "source_prompts.json") if (folder / "source_prompts.json").exists() else {}
    wishes: dict[str, list[str]] = {}
    try:
        for entry in _json(path):
            wishes.setdefault(entry["img_name"], []).append(entry["target_text"])
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path} must be a list of objects with img_name and target_text") from error
    return [
        Subject(_plain(name), "all", _existing(folder / "originals" / name), str(prompts.get(name, "")), tuple(targets))
        for name, targets in wishes.items()
    ]


def read_editeval(folder: Path) -> list[Subject]:
    """EditEval v1 (Huang et al. 2024): `editing_prompts_collection.xlsx`, and a folder of numbered pictures a class.

    The first column names a class in its first row only, or in the header; pictures are numbered within a class.
    """
    openpyxl = optional("openpyxl", "bench-images")
    path = _existing(folder / "editing_prompts_collection.xlsx")
    header, *rows = openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True)
    names = [str(name or "").strip().lower() for name in header]
    try:
        source, target = names.index("source prompt"), names.index("target prompt")
    except ValueError as error:
        raise DatasetError(f"{path} must have the columns Source Prompt and Target Prompt; it has {names}") from error
    subjects, group, number = [], "" if names[0] == "edit class" else names[0], 0
    for row in rows:
        if not row[target]:
            continue
        if row[0]:
            group, number = str(row[0]).strip().lower(), 0
        number += 1
        image = _numbered(folder, group.replace(" ", "_"), number)
        name = f"{image.parent.name}-{number}"
        subjects.append(Subject(name, group, image, str(row[source]).strip(), (str(row[target]).strip(),)))
    return subjects


def read_dreambench(folder: Path) -> list[Subject]:
    """DreamBench++ (Peng et al. 2025): `images/KIND/N.jpg`, and `captions/KIND/N.txt` with a subject, then wishes."""
    subjects = []
    for image in sorted(path for path in (folder / "images").rglob("*") if path.suffix.lower() in _PICTURES):
        place = image.relative_to(folder / "images").with_suffix("")
        caption = _existing(folder / "captions" / place.with_suffix(".txt"))
        subject, *wishes = [line.strip() for line in caption.read_text().splitlines() if line.strip()]
        subjects.append(Subject(_plain(str(place)), str(place.parent), image, f"a {subject}", tuple(wishes)))
    return subjects


DATASETS: dict[str, Callable[[Path], list[Subject]]] = {
    "tedbench": read_tedbench,
    "editeval": read_editeval,
    "dreambench": read_dreambench,
}


def read_dataset(name: str, folder: Path, source_prompt: str = "") -> list[Subject]:
    """Read a dataset.

    Args:
        name: a key of DATASETS.
        folder: as its authors lay it out.
        source_prompt: for subjects whose dataset has none.

    Raises:
        DatasetError: the layout is another, or a subject has no source prompt.
    """
    subjects = list(_with_prompts(DATASETS[name](folder), source_prompt))
    if not subjects:
        raise DatasetError(f"{folder} holds nothing of {name}; name the folder that its authors publish")
    return subjects


def _with_prompts(subjects: list[Subject], source_prompt: str) -> Iterator[Subject]:
    for subject in subjects:
        prompt = subject.source_prompt or source_prompt
        if not prompt:
            raise DatasetError(
                f"{subject.image} has no source prompt; write source_prompts.json beside input_list.json, "
                "or name one for all with --source-prompt"
            )
        yield Subject(subject.name, subject.group, subject.image, prompt, subject.target_prompts)


def _numbered(folder: Path, group: str, number: int) -> Path:
    # Its authors spell one folder "object_removel".
    for name in (group, group.replace("removal", "removel")):
        for suffix in _PICTURES:
            path = folder / name / f"{number}{suffix}"
            if path.exists():
                return path
    raise DatasetError(f"{folder / group} has no picture {number}, which the table of prompts names; download it again")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DatasetError(f"{path} is missing; name the folder that the dataset's authors publish")
    return path


def _json(path: Path) -> Any:
    try:
        return json.loads(_existing(path).read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON: {error}; download it again") from error


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
