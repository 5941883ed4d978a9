"""Edits over HTTP: MLPerf's scenarios, hiper-serve and other servers."""

from __future__ import annotations

from typing import Any

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.bar_plot import Bar, bars
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.page import Block, Plot, Section, Table, Tile
from benchmarks.report.records import Record

OURS = "hiper-serve"
_TIMED = ("Offline", "same load", "Server")


def section(record: Record, book: Book) -> Section:
    """Latency alone, throughput with all there at once, and the rate that is borne in time."""
    results, settings = record.results, record.settings
    single = {name: bootstrap.median(found["samples_ms"]) for name, found in results["SingleStream"].items()}
    borne = f"Server: the highest rate at which 99 of 100 pictures come within {settings['bound_ms']:g} ms"
    blocks: list[Block] = [
        Plot(bars([Bar(name, *found, colour(name)) for name, found in single.items()], "ms"), "SingleStream: one edit"),
        Plot(_throughput(results["Offline"]), "Offline: all edits there at once"),
        Plot(_throughput(results["Server"]), borne),
        _table(results),
    ]
    if results.get("overhead"):
        blocks.append(_overhead(results["overhead"]))
    if results.get("batches"):
        blocks.append(_batches(results["batches"]))
    return Section(f"Edits over HTTP: {settings['model']}", blocks, [record], _tiles(results))


def _throughput(by_server: dict[str, Any]) -> str:
    values = {name: found["edits_per_s"] for name, found in by_server.items()}
    return bars([Bar(name, value, value, value, colour(name)) for name, value in values.items()], "edits/s")


def _table(results: dict[str, Any]) -> Table:
    rows = []
    for scenario in _TIMED:
        for name, found in results.get(scenario, {}).items():
            numbers = [_milliseconds(found, percent) for percent in (50, 95, 99)]
            rows.append(
                [f"{scenario}: {name}", text.number(found["edits_per_s"]), *numbers, str(found.get("edits", 0))]
            )
    note = "Same load: all servers at the rate that the slowest bears. A dash: too few edits, or that of a failure."
    return Table(("scenario and server", "edits/s", "p50 ms", "p95", "p99", "edits"), rows, note)


def _milliseconds(found: dict[str, Any], percent: int) -> str:
    value = found.get(f"p{percent}_ms")
    return text.NONE if value is None or found["edits"] < text.LEAST_SAMPLES[percent] else text.number(value)


def _overhead(found: dict[str, Any]) -> Table:
    rows = [
        [name, text.estimate(bootstrap.Estimate(figures["median_ms"], *figures["interval_ms"]))]
        for name, figures in found.items()
    ]
    return Table(("what HTTP and processes add", "ms"), rows)


def _batches(found: dict[str, Any]) -> Table:
    names = list(dict.fromkeys(name for histograms in found.values() for name in histograms))
    rows = [
        [scenario, *(text.number(histograms[name]["mean"]) if name in histograms else text.NONE for name in names)]
        for scenario, histograms in found.items()
    ]
    return Table(("in a call of hiper-serve, on average", *(name.replace("_", " ") for name in names)), rows)


def _tiles(results: dict[str, Any]) -> list[Tile]:
    """Throughput against the first other server, all there at once."""
    offline = results["Offline"]
    others = [name for name in offline if name != OURS]
    if OURS not in offline or not others or not offline[others[0]]["edits_per_s"]:
        return []
    ours, theirs = offline[OURS]["edits_per_s"], offline[others[0]]["edits_per_s"]
    detail = f"hiper-serve {ours:.1f}, {others[0]} {theirs:.1f} edits a second, all there at once"
    return [Tile(f"{ours / theirs:.2f}x", f"throughput of {others[0]}", detail)]
