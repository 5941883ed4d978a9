"""The same figures over commits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.figures import figures_of
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Block, Plot, Section, Text
from benchmarks.report.records import Record, newest

# By kind: which figures are worth following.
_FOLLOWED = {
    "edit": r"[^/]+",
    "rows": r".* / 8 / distinct",
    "batching": r"offline / .* / edits_per_s",
    "startup": r"[^/]+",
    "fit": r"[^/]+",
    "presets": r"times_less_time",
    "fidelity": r"(hiper|text|truth) / identity_error",
}


def section(book: Book) -> Section:
    """A plot a record that was written more than once on the same machine with the same settings."""
    plots: list[Block] = []
    for record in newest(book.records):
        runs = book.history(record)
        if record.kind in _FOLLOWED and len(runs) > 1 and (plot := _plot(record, runs)):
            plots.append(plot)
    words = "No record has an earlier run on the same machine with the same settings; name their folders too."
    return Section("Over commits", plots or [Text(words)])


def _plot(record: Record, runs: Sequence[Record]) -> Plot | None:
    curves, unit = [], ""
    by_run = [figures_of(run) for run in runs]
    for name, figure in by_run[-1].items():
        if re.fullmatch(_FOLLOWED[record.kind], name) and (not unit or figure.unit == unit):
            unit = figure.unit or unit
            there = [(index, found[name].estimate) for index, found in enumerate(by_run) if name in found]
            points = [(float(index), estimate.value) for index, estimate in there]
            bands = [(estimate.low, estimate.high) for _, estimate in there]
            curves.append(Line(name, points, colour(name.split(" / ")[0]), bands))
    if not curves:
        return None
    names = [f"{run.commit} {run.time[5:10]}" for run in runs]
    return Plot(lines(curves, Frame("commit", unit or record.kind, x_names=names)), f"{record.name} over commits")
