"""Batches of edits: throughput against rows, and what distinct tails cost."""

from __future__ import annotations

from typing import Any

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Block, Plot, Section, Table, Tile
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Steps of single edits in a second, by edits in the batch."""
    curves, rows, floors = [], [], book.floors(record)
    for way, by_count in record.results.items():
        for tails in ("distinct", "shared"):
            found = {int(count): by_tails[tails] for count, by_tails in by_count.items() if tails in by_tails}
            if not found:
                continue
            both = any(len(by_tails) > 1 for by_tails in by_count.values())
            label = f"{way}, {'one tail' if tails == 'shared' else 'own tails'}" if both else way
            points = [(2.0 * count, figures["edit_steps_per_s"]) for count, figures in found.items()]
            bands = [_band(count, figures) for count, figures in found.items()]
            curves.append(Line(label, points, colour(way), bands, dashed=both and tails == "shared"))
            for count, figures in found.items():
                least = floors.step_ms(way, 2 * count) if floors else None
                rows.append(_row(way, tails, count, figures, least))
    plot = lines(curves, Frame("rows in a call (two an edit)", "edit-steps per second", log_x=True, height=340))
    header = ("way", "edits", "tails", "ms a step", "edit-steps/s", "x floor")
    note = "A step of ours with all that the host does; of diffusers the UNet alone."
    caption = "Throughput of a batch; dashed: all edits share one tail. The two coincide where a user costs nothing"
    blocks: list[Block] = [Plot(plot, caption), Table(header, rows, note)]
    return Section(f"Many edits in one batch: {record.settings['model']}", blocks, [record], _tiles(record))


def _band(count: int, figures: dict[str, Any]) -> tuple[float, float]:
    found = bootstrap.median(figures["samples_ms"])
    return 1e3 * count / found.high, 1e3 * count / found.low


def _row(way: str, tails: str, count: int, figures: dict[str, Any], least: float | None) -> list[str]:
    times = f"{figures['median_ms'] / least:.1f}" if least else text.NONE
    ms, throughput = text.estimate(bootstrap.median(figures["samples_ms"])), figures["edit_steps_per_s"]
    return [way, str(count), tails, ms, text.number(throughput), times]


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
