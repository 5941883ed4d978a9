"""A record as a page: its table, its curves, its contact sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fidelity.cases import EDITS
from benchmarks.fidelity.plots import NAMES, knobs, tradeoff
from benchmarks.record import RECORDS, ROOT
from engine.atomic_file import write_atomically

Row = Mapping[str, Any]

HEADER = ("method", *(f"{edit} edit" for edit in EDITS), "edit success", "identity error", "coat error", "marks")
EXPLANATION = """\
Each edit column: edit success in % / identity error. **Edit success**: the probe reads the target's species, pose,
place and style, so what was asked for is there and nothing else changed. **Identity error**: mean absolute difference
inside the animal to the rendered truth of the edit, aligned, in 8-bit levels. **Coat error**: distance of the coat's
colour as read (0 to 441). **Marks**: share of {trusted} read as they should be (what the probe reads right in at least
95 % of truths through the VAE). Intervals are 95 %, by bootstrap over identities."""


def write_page(record: Path) -> Path:
    """Draw the curves of a record and write the page that shows them.

    Args:
        record: JSON, as `run` writes it; its contact sheet was written then.

    Returns:
        The path of the page.
    """
    content = json.loads(record.read_bytes())
    rows = content["results"]["settings"]
    for name, figure in (("tradeoff", tradeoff(rows)), ("knobs", knobs(rows))):
        figure.savefig(picture_path(record, name), dpi=80)
    titles = {
        "sheet": "Animals in order, none picked",
        "tradeoff": "Edit success against identity error, by edit",
        "knobs": "HiPer over tail strength, fit steps and tail tokens",
    }
    shown = {title: f"pictures/{picture_path(record, name).name}" for name, title in titles.items()}
    page = docs_folder(record) / f"{stem(record)}.md"
    write_atomically(page, markdown(content, shown).encode())
    return page


def picture_path(record: Path, name: str) -> Path:
    """Where a picture of a record belongs; makes the folder."""
    folder = docs_folder(record) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{stem(record)}-{name}.png"


def docs_folder(record: Path) -> Path:
    """The project's documentation for the project's records, else the record's own folder."""
    return ROOT / "docs" if record.parent == RECORDS else record.parent


def stem(record: Path) -> str:
    """The record's name without its time, so that a new record's page replaces the old one's."""
    return record.stem.rpartition("-")[0]


def markdown(record: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The page.

    Args:
        record: as `write_record` writes it.
        pictures: paths by title.
    """
    results, settings = record["results"], record["settings"]
    paragraphs = [
        f"# Fidelity of edits: {settings['model']}",
        f"{record['question']} Measured {record['time'][:10]} on {record['hardware']['cpu']}: {conditions(settings)}",
        table([row for row in results["settings"] if is_headline(row)]),
        EXPLANATION.format(trusted=_listed(results["trusted"])),
        against_text(results["to_text"]),
        *(f"![{title}]({path})" for title, path in pictures.items()),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def conditions(settings: Mapping[str, Any]) -> str:
    """What every method was given, in one paragraph."""
    fit, count = settings["fit"], settings["fit"]["timesteps_per_step"]
    return (
        f"{settings['identities']} animals, {settings['seeds']} seeds, {settings['num_inference_steps']} DDIM steps at "
        f"guidance {settings['guidance_scale']:g}. HiPer: at most {fit['steps']} steps of {count} timesteps at "
        f"learning rate {fit['learning_rate']:g}, {fit['tail_tokens']} rows, strength {settings['tail_strength']:g}. "
        f"Textual inversion: {fit['steps']} steps of {count} at {settings['inversion_learning_rate']:g}, "
        f"{fit['tail_tokens']} vectors. Imagic's embedding: {settings['imagic_steps']} steps of {count} at "
        f"{settings['imagic_learning_rate']:g} for every target; its number is eta, the target's share."
    )


def table(rows: Sequence[Row]) -> str:
    """One line a setting."""
    lines = [HEADER, ["---"] * len(HEADER), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def is_headline(row: Row) -> bool:
    """Whether a setting belongs in the table: methods as they would be used, and rivals at every strength."""
    return not row["knob"] or row["method"] in ("sdedit", "imagic")


def against_text(to_text: Mapping[str, Any]) -> str:
    """The targets in words: HiPer's identity error and success as shares of text alone's."""
    if not {"hiper", "truth"} <= to_text.keys():
        return ""
    lines = [
        f"- {edit}: {_interval(found['identity_error'], 2)} of text alone's identity error "
        f"(the VAE leaves {to_text['truth'][edit]['identity_error']['value']:.2f} of it in the truth itself) "
        f"at {_interval(found['success'], 2)} of its edit success"
        for edit, found in to_text["hiper"].items()
    ]
    return "\n".join(["HiPer against text alone, by edit:", "", *lines])


def _cells(row: Row) -> list[str]:
    edits, overall = row["edits"], row["edits"]["all"]
    return [
        " ".join([NAMES[row["method"]], *([f"{row['value']:g}"] if row["knob"] else [])]),
        *(_pair(edits[edit]) for edit in EDITS),
        _interval(overall["success"], 0, 100),
        _interval(overall["identity_error"], 1),
        _interval(overall["coat_error"], 0),
        _interval(row["marks"], 0, 100) if row["marks"] else "",
    ]


def _pair(figures: Row) -> str:
    return f"{100 * figures['success']['value']:.0f} / {figures['identity_error']['value']:.0f}"


def _interval(estimate: Mapping[str, float], digits: int, factor: float = 1) -> str:
    value, low, high = (f"{factor * estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names) or "no attribute"
