"""The curves of a record as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.fidelity.cases import EDITS

COLOURS = {"hiper": "#d2601a", "sdedit": "#3b6fb5", "imagic": "#3f8f5b", "inversion": "#8a5aa8", "text": "#6e6e73"}
NAMES = {
    "truth": "ground truth through the VAE",
    "source": "untouched source",
    "text": "text alone",
    "hiper": "HiPer",
    "sdedit": "SDEdit",
    "inversion": "textual inversion",
    "imagic": "Imagic's embedding",
}
KNOBS = {"tail_strength": "tail strength", "steps": "fit steps", "tail_tokens": "tail tokens"}
FIGURES = {"success": "edit success", "identity_error": "identity error (levels)"}

Row = Mapping[str, Any]


def tradeoff(rows: Sequence[Row]) -> Figure:
    """Edit success against identity error, a panel an edit: each method a curve over its knob, better is up and right.

    Args:
        rows: `results["settings"]` of a record.
    """
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    for axes, edit in zip(figure.subplots(2, 2).flat, EDITS, strict=True):
        axes.set(title=f"{edit} edit", xlabel="edit success", ylabel="identity error (levels; less is higher up)")
        axes.set(xlim=(-0.03, 1.03))
        axes.invert_yaxis()
        axes.grid(color="#e4e4e8")
        for method, knob in (("hiper", "tail_strength"), ("sdedit", "strength"), ("imagic", "eta"), ("inversion", "")):
            _draw_curve(axes, [row for row in rows if row["method"] == method and knob in ("", row["knob"])], edit)
        _draw_points(axes, [row for row in rows if row["method"] in ("truth", "source", "text")], edit)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def knobs(rows: Sequence[Row]) -> Figure:
    """What HiPer's strength, steps and tail tokens do to success and identity error; all edits together.

    Args:
        rows: `results["settings"]` of a record.
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    curves = {knob: [row for row in rows if (row["method"], row["knob"]) == ("hiper", knob)] for knob in KNOBS}
    curves = {knob: found for knob, found in curves.items() if found}
    panels = figure.subplots(len(FIGURES), max(1, len(curves)), sharey="row", squeeze=False)
    for column, (knob, found) in zip(panels.T, curves.items(), strict=False):
        for axes, (measure, name) in zip(column, FIGURES.items(), strict=True):
            values = [row["value"] for row in found]
            estimates = [row["edits"]["all"][measure] for row in found]
            low, high = ([estimate[end] for estimate in estimates] for end in ("low", "high"))
            axes.fill_between(values, low, high, color=COLOURS["hiper"], alpha=0.15, linewidth=0)
            axes.plot(values, [estimate["value"] for estimate in estimates], "o-", color=COLOURS["hiper"])
            axes.set(xlabel=KNOBS[knob], ylabel=name)
            axes.set_ylim(0, 1.03 if measure == "success" else None)
            axes.grid(color="#e4e4e8")
            axes.label_outer()
    return figure


def _draw_curve(axes: Axes, rows: Sequence[Row], edit: str) -> None:
    if not rows:
        return
    method = rows[0]["method"]
    x, y = _position(rows, edit)
    axes.plot(x, y, "o-", color=COLOURS[method], label=NAMES[method], markersize=4)
    for row, place in zip(rows, zip(x, y, strict=True), strict=True):
        if row["knob"]:
            axes.annotate(f"{row['value']:g}", place, (4, 4), textcoords="offset points", fontsize=8)


def _draw_points(axes: Axes, rows: Sequence[Row], edit: str) -> None:
    for row, marker in zip(rows, "*sD", strict=False):
        x, y = _position([row], edit)
        axes.plot(x, y, marker, color=COLOURS["text"], label=NAMES[row["method"]], linestyle="none")


def _position(rows: Sequence[Row], edit: str) -> tuple[list[float], list[float]]:
    success, error = ([row["edits"][edit][figure]["value"] for row in rows] for figure in FIGURES)
    return success, error
