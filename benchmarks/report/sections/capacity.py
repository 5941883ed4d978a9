"""How many devices a crowd needs, simulated."""

from __future__ import annotations

from typing import Any

from benchmarks.percentiles import LEAST_SAMPLES
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Block, Section, Table
from benchmarks.report.records import Record

_COLUMNS = ("busy", "rows a call", *(f"p{percent} ms" for percent in LEAST_SAMPLES), "refused", "of edits")
_AGAINST = {
    "edits_per_s": "edits/s",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "slowest_ms": "slowest",
}


def section(record: Record, book: Book) -> Section:
    """Devices for all users, one device by load, and the simulation beside a server that was measured."""
    results, settings = record.results, record.settings
    devices = [[str(one["devices"]), *_cells(one)] for one in results["devices"]]
    loads = [[f"{one['arrivals_per_s']:.2f} a second", *_cells(one)] for one in results["one device"]]
    blocks: list[Block] = [
        Table(("devices for all", *_COLUMNS), devices, f"Wanted: p99 within {settings['p99_ms']:g} ms."),
        Table(("one device, edits", *_COLUMNS), loads, f"It does {results['most_edits_per_s']:.2f} a second at most."),
    ]
    if results["against the server"]:
        blocks.append(_against(results["against the server"]))
    crowd = f"{settings['users']:,} users, {settings['edits_per_hour']:g} edits an hour each, {settings['steps']} steps"
    return Section(f"Simulated: {crowd}, {settings['model']} by {settings['way']}", blocks, [record])


def _cells(one: dict[str, Any]) -> list[str]:
    latencies = [_number(one[f"p{percent}_ms"]) for percent in LEAST_SAMPLES]
    return [text.share(one["busy"]), f"{one['rows_per_call']:.1f}", *latencies, str(one["refused"]), str(one["edits"])]


def _against(found: dict[str, Any]) -> Table:
    rows = [
        [f"{scenario}: {unit}", *(_number(beside[side].get(name)) for side in ("measured", "simulated"))]
        for scenario, beside in found.items()
        for name, unit in _AGAINST.items()
    ]
    return Table(("the same arrivals", "measured", "simulated"), rows)


def _number(value: float | None) -> str:
    return text.NONE if value is None else text.number(value)
