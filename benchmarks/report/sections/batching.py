"""Edits that arrive over time, under three policies."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Block, Plot, Section, Table, Tile
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Latencies by load and policy; throughput."""
    results = record.results
    loads, policies = list(results), list(next(iter(results.values())))
    caption = "Latency by load: the median, and lines from the fastest to the slowest edit, on a logarithmic scale"
    blocks: list[Block] = [
        Plot(_latencies(results, loads, policies), caption),
        Table(
            ("load and policy", "edits/s", "p50 ms", "p95", "p99"),
            [_row(f"{load}: {policy}", results[load][policy]) for load in loads for policy in policies],
            "Arrivals are the same for every policy. A dash: too few edits for this percentile.",
        ),
    ]
    title = f"Edits that arrive over time: {record.settings['model']} on {record.settings['runtime']}"
    return Section(title, blocks, [record], _tiles(results))


def _latencies(results: dict[str, Any], loads: list[str], policies: list[str]) -> str:
    """Policies side by side at every load."""
    curves = []
    for place, policy in enumerate(policies):
        spread = [np.percentile(_flat(results[load][policy]), (0, 50, 100)) for load in loads]
        aside = 0.14 * (place - (len(policies) - 1) / 2)
        points = [(index + aside, float(found[1])) for index, found in enumerate(spread)]
        reach = [(float(found[0]), float(found[2])) for found in spread]
        curves.append(Line(policy, points, colour(policy), reach, joined=False))
    return lines(curves, Frame("load", "ms from arrival to picture", log_y=True, x_names=loads, height=320))


def _row(name: str, found: dict[str, Any]) -> list[str]:
    latencies = _flat(found)
    percentiles = [text.percentile(latencies, percent) for percent in (50, 95, 99)]
    return [name, text.number(found["edits_per_s"]), *percentiles]


def _flat(found: dict[str, Any]) -> list[float]:
    return [latency for played in found["latencies_ms"] for latency in played]


def _tiles(results: dict[str, Any]) -> list[Tile]:
    offline = results.get("offline", {})
    if not {"every step", "one at a time"} <= offline.keys():
        return []
    ours, alone = offline["every step"]["edits_per_s"], offline["one at a time"]["edits_per_s"]
    detail = f"{ours:.1f} against {alone:.1f} edits a second, all there at once"
    return [Tile(f"{ours / alone:.2f}x", "throughput of one edit at a time", detail)]
