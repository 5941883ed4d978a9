"""Batches of edits: throughput against rows, and what distinct tails cost."""

from __future__ import annotations

from typing import Any

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.floors import Floors
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Block, Plot, Section, Table, Tile
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Steps of single edits in a second, by edits in the batch."""
    curves, floors = [], book.floors(record)
    for way, by_count in record.results.items():
        for tails in ("distinct", "shared"):
            found = {int(count): by_tails[tails] for count, by_tails in by_count.items() if tails in by_tails}
            if found:
                curves.append(_curve(way, found, second=tails == "shared" and _both(by_count)))
    rows = [
        _row(way, int(count), by_tails, floors)
        for way, by_count in record.results.items()
        for count, by_tails in by_count.items()
    ]
    plot = lines(curves, Frame("rows in a call (two an edit)", "edit-steps per second", log_x=True, height=340))
    header = ("way", "edits", "ms a step, a tail each", "one tail for all", "edit-steps/s", "x floor")
    note = (
        "A step of ours with all that the host does; of diffusers the UNet alone, to which a tail is nothing special."
    )
    caption = "Throughput of a batch; dashed: all edits share one tail. Both coincide where a user costs nothing"
    blocks: list[Block] = [Plot(plot, caption), Table(header, rows, note)]
    return Section(f"Many edits in one batch: {record.settings['model']}", blocks, [record], _tiles(record))


def _both(by_count: dict[str, dict[str, Any]]) -> bool:
    return any(len(by_tails) > 1 for by_tails in by_count.values())


def _curve(way: str, found: dict[int, dict[str, Any]], second: bool) -> Line:
    points = [(2.0 * count, figures["edit_steps_per_s"]) for count, figures in found.items()]
    bands = [] if second else [_band(count, figures) for count, figures in found.items()]
    return Line("" if second else way, points, colour(way), bands, dashed=second)


def _band(count: int, figures: dict[str, Any]) -> tuple[float, float]:
    found = bootstrap.median(figures["samples_ms"])
    return 1e3 * count / found.high, 1e3 * count / found.low


def _row(way: str, count: int, by_tails: dict[str, dict[str, Any]], floors: Floors | None) -> list[str]:
    best = by_tails.get("distinct") or by_tails["shared"]
    times = f"{best['median_ms'] / floors.step_ms(way, 2 * count):.1f}" if floors else text.NONE
    found = (by_tails.get(tails) for tails in ("distinct", "shared"))
    spans = [text.estimate(bootstrap.median(figures["samples_ms"])) if figures else text.NONE for figures in found]
    return [way, str(count), *spans, text.number(best["edit_steps_per_s"]), times]


def _tiles(record: Record) -> list[Tile]:
    """What distinct tails cost in the largest batch of the fastest way."""
    found = []
    for way, by_count in record.results.items():
        for count, by_tails in by_count.items():
            if {"distinct", "shared"} <= by_tails.keys():
                found.append((int(count), -by_tails["distinct"]["median_ms"], way, by_tails))
    if not found:
        return []
    count, _, way, by_tails = max(found, key=lambda one: one[:2])
    ratio = bootstrap.median_ratio([by_tails["distinct"]["samples_ms"]], [by_tails["shared"]["samples_ms"]])
    detail = f"{way}, {count} edits with a tail each [{ratio.low:.2f}, {ratio.high:.2f}]"
    return [Tile(f"{ratio.value:.2f}x", "time of a batch with one tail", detail)]
