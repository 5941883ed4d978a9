"""How faithful edits are, on Menagerie, where the truth is known."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from benchmarks.fidelity.page import docs_folder, is_headline, stem
from benchmarks.fidelity.plots import KNOBS, NAMES
from benchmarks.report.book import Book
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Block, Pair, Picture, Plot, Section, Table, Tile
from benchmarks.report.records import Record

_COLOURS = {"hiper": "us", "sdedit": "them", "imagic": "peer", "inversion": "torch"}
_CURVES = (("hiper", "tail_strength"), ("sdedit", "strength"), ("imagic", "eta"), ("inversion", ""))
_WIDTH = 900


def section(record: Record, book: Book) -> Section:
    """Success against identity, the knobs, the sheet."""
    rows, settings = record.results["settings"], record.settings
    blocks: list[Block] = [_tradeoff(rows), _table(rows), Pair(_knobs(rows))]
    if sheet := _sheet(record):
        blocks.append(sheet)
    title = f"Fidelity of edits: {settings['model']}, {settings['identities']} animals"
    return Section(title, blocks, [record], _tiles(record))


def _tradeoff(rows: list[dict[str, Any]]) -> Plot:
    curves = []
    for method, knob in _CURVES:
        chosen = [row for row in rows if row["method"] == method and row["knob"] == knob]
        if chosen:
            notes = [f"{row['value']:g}" if knob else "" for row in chosen]
            points = [_place(row) for row in chosen]
            label = NAMES[method] + (f", by {knob.replace('_', ' ')}" if knob else "")
            curves.append(Line(label, points, _COLOURS[method], notes=notes))
    for method in ("truth", "source", "text"):
        if found := [_place(row) for row in rows if row["method"] == method]:
            curves.append(Line("", found[:1], "bound", joined=False, notes=[NAMES[method]]))
    frame = Frame("edit success", "identity error (levels)", less_is_up=True, height=420)
    return Plot(lines(curves, frame), "All edits: better is further up and right")


def _place(row: dict[str, Any]) -> tuple[float, float]:
    return row["edits"]["all"]["success"]["value"], row["edits"]["all"]["identity_error"]["value"]


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = []
    for row in filter(is_headline, rows):
        name = " ".join([NAMES[row["method"]], *([f"{row['value']:g}"] if row["knob"] else [])])
        found = row["edits"]["all"]
        success, error = _interval(found["success"], 100), _interval(found["identity_error"], 1)
        shown.append([name, success, error, str(row["pictures"])])
    note = "Identity error: mean absolute difference inside the animal to the rendered truth, in 8-bit levels."
    return Table(("method", "edit success %", "identity error", "pictures"), shown, note)


def _interval(found: dict[str, float], factor: float) -> str:
    value, low, high = (factor * found[name] for name in ("value", "low", "high"))
    return f"{value:.0f} [{low:.0f}, {high:.0f}]" if factor > 1 else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _knobs(rows: list[dict[str, Any]]) -> list[Plot]:
    plots = []
    for knob, name in KNOBS.items():
        found = [row for row in rows if (row["method"], row["knob"]) == ("hiper", knob)]
        if len(found) > 1:
            estimates = [row["edits"]["all"]["identity_error"] for row in found]
            points = [(row["value"], estimate["value"]) for row, estimate in zip(found, estimates, strict=True)]
            notes = [f"{100 * row['edits']['all']['success']['value']:.0f} %" for row in found]
            bands = [(estimate["low"], estimate["high"]) for estimate in estimates]
            curve = Line(f"HiPer over {name}", points, "us", bands, notes)
            frame = Frame(name, "identity error (levels)", width=400, height=240)
            plots.append(Plot(lines([curve], frame), f"Identity error by {name}; beside points: edit success"))
    return plots


def _sheet(record: Record) -> Picture | None:
    """The contact sheet that was written beside the record, smaller."""
    path = docs_folder(record.path) / "pictures" / f"{stem(record.path)}-sheet.png"
    if not path.is_file():
        return None
    with Image.open(path) as sheet:
        small, buffer = sheet.convert("RGB"), io.BytesIO()
    small.thumbnail((_WIDTH, 10 * _WIDTH))
    small.save(buffer, "WEBP", quality=72)
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri, "Animals in order, none picked: source, text alone, HiPer, ground truth")


def _tiles(record: Record) -> list[Tile]:
    found = record.results["to_text"].get("hiper", {}).get("all")
    if not found:
        return []
    error, success = found["identity_error"], found["success"]
    detail = f"at {success['value']:.2f} of its edit success [{error['low']:.2f}, {error['high']:.2f}]"
    return [Tile(f"{error['value']:.2f}x", "identity error of text alone", detail)]
