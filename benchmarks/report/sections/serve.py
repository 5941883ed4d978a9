"""Edits over HTTP: MLPerf's scenarios, hiper-serve and other servers."""

from __future__ import annotations

from typing import Any

from benchmarks import bootstrap
from benchmarks.percentiles import LEAST_SAMPLES
from benchmarks.report import text
from benchmarks.report.bar_plot import Bar, bars
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.page import Block, Plot, Section, Table, Tile
from benchmarks.report.records import Record
from benchmarks.servers.process import OURS, Setup

_TIMED = ("Offline", "same load", "Server")


def section(record: Record, book: Book) -> Section:
    """Latency alone, throughput with all there at once, and the rate that is borne in time."""
    results, settings = record.results, record.settings
    single = {name: bootstrap.median(found["samples_ms"]) for name, found in results["SingleStream"].items()}
    borne = f"Server: the highest rate tried at which {in_time(settings)}"
    blocks: list[Block] = [
        Plot(bars([Bar(name, *found, colour(name)) for name, found in single.items()], "ms"), "SingleStream: one edit"),
        Plot(_throughput(results["Offline"]), f"Offline: {at_once(settings)}"),
        Plot(_throughput(results["Server"]), borne),
        _table(results),
        pictures(record),
    ]
    if results.get("overhead"):
        blocks.append(_overhead(results["overhead"]))
    if results.get("batches"):
        blocks.append(_batches(results["batches"]))
    return Section(f"Edits over HTTP: {settings['model']}", blocks, [record], _tiles(record))


def at_once(settings: dict[str, Any]) -> str:
    """What was played."""
    rounds: int = settings.get("offline_rounds", 1)
    return f"{settings['edits']} edits there at once" + f", {rounds} times" * (rounds > 1)


def in_time(settings: dict[str, Any]) -> str:
    """What is asked of a rate."""
    return f"99 of 100 pictures came within {settings['bound_ms']:g} ms, or all where fewer were asked for"


def pictures(record: Record) -> Table:
    """What each server computes in, and how far its worst picture is from the first server's."""
    rows = [
        [name, precision(record, name), f"{found['worst_psnr_db']:.0f}"]
        for name, found in record.results.get("pictures", {}).items()
    ]
    note = "100 dB: the same to the byte. fast: bfloat16 where runtime and processor have it."
    return Table(("server", "precision", "worst picture, dB"), rows, note)


def precision(record: Record, server: str) -> str:
    """As the record has it, or as older ones imply it."""
    setup = Setup("", "", precision=record.settings.get("precision", "exact"))
    return str(record.results.get("pictures", {}).get(server, {}).get("precision") or setup.precision_of(server))


def rate(found: dict[str, Any]) -> str:
    """Edits a second; the search for the highest may have ended before it found one that was too high."""
    plays = found.get("plays", [])
    at_least = found.get("at_least", bool(plays) and all(play["in_time"] for play in plays))
    return f"{'≥ ' * at_least}{text.number(found['edits_per_s'])}"


def _throughput(by_server: dict[str, Any]) -> str:
    values = {name: found["edits_per_s"] for name, found in by_server.items()}
    return bars([Bar(name, value, value, value, colour(name)) for name, value in values.items()], "edits/s")


def _table(results: dict[str, Any]) -> Table:
    rows = []
    for scenario in _TIMED:
        for name, found in results.get(scenario, {}).items():
            numbers = [_milliseconds(found, percent) for percent in LEAST_SAMPLES]
            slowest = found.get("slowest_ms")
            numbers.append(text.NONE if slowest is None else text.number(slowest))
            rows.append([f"{scenario}: {name}", rate(found), *numbers, str(found.get("edits", 0))])
    note = (
        "Same load: all servers at the rate that the slowest bears. ≥: no rate that was tried was too high. "
        "A dash: too few edits, or that of a failure."
    )
    return Table(("scenario and server", "edits/s", "p50 ms", "p95", "p99", "slowest", "of edits"), rows, note)


def _milliseconds(found: dict[str, Any], percent: int) -> str:
    value = found.get(f"p{percent}_ms")
    return text.NONE if value is None or found["edits"] < LEAST_SAMPLES[percent] else text.number(value)


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


def _tiles(record: Record) -> list[Tile]:
    """Throughput against the first other server, all there at once."""
    offline = record.results["Offline"]
    others = [name for name in offline if name != OURS]
    if OURS not in offline or not others or not offline[others[0]]["edits_per_s"]:
        return []
    ours, theirs = offline[OURS]["edits_per_s"], offline[others[0]]["edits_per_s"]
    sides = [f"{name} ({precision(record, name)}) {value:.1f}" for name, value in ((OURS, ours), (others[0], theirs))]
    detail = f"{', '.join(sides)} edits a second, all there at once"
    return [Tile(f"{ours / theirs:.2f}x", f"throughput of {others[0]}", detail)]
