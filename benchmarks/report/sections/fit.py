"""A step of a fit: time and memory."""

from __future__ import annotations

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.bar_plot import Bar, bars
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.floors import doubt
from benchmarks.report.page import Block, Plot, Section, Table, Text, Tile
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Ours in every execution, against the published loop."""
    results, floors = record.results, book.floors(record)
    baseline, row_count = next(iter(results)), record.settings.get("rows", 1)
    least = {case: floors.fit_step_ms(case, row_count) for case in results} if floors else {}
    medians = {case: bootstrap.median(found["samples_ms"]) for case, found in results.items()}
    times = [Bar(case, *estimate, colour(case), least.get(case)) for case, estimate in medians.items()]
    memory = [_memory_bar(case, found["memory"]) for case, found in results.items()]
    rows = []
    for case, found in results.items():
        ratio = _ratio(record, case, baseline)
        bound = f"{found['median_ms'] / least[case]:.1f}" if case in least else text.NONE
        peak = text.mebibytes(found["memory"]["peak_bytes"])
        apart = text.number(found[f"largest_loss_difference_to_{baseline}"])
        rows.append([case, text.estimate(medians[case]), text.estimate(ratio), bound, peak, apart])
    header = ("case", "ms a step", f"time / {baseline}", "x floor", "peak MiB", "losses differ by")
    caption = "Median time of a step with its 95 % interval" + ("; dashed: the floor" if floors else "")
    blocks: list[Block] = [
        Plot(bars(times, "ms"), caption),
        Plot(bars(memory, "MiB"), "Peak memory over what lay there before the first step"),
        Table(header, rows, f"Losses: largest relative difference of a step's loss to {baseline}'s."),
    ]
    blocks += doubt(least, results)
    left_out = record.settings.get("left_out", {})
    blocks += [Text(f"Left out: {case}, since {reason}.") for case, reason in left_out.items()]
    title = f"A step of a fit, {row_count} row{'s' * (row_count > 1)}: {record.settings['model']}"
    return Section(title, blocks, [record], _tiles(record, baseline))


def _memory_bar(case: str, memory: dict[str, int]) -> Bar:
    value = (memory["peak_bytes"] - memory["before_bytes"]) / 2**20
    return Bar(case, value, value, value, colour(case))


def _ratio(record: Record, case: str, baseline: str) -> bootstrap.Estimate:
    pairs = zip(record.results[case]["samples_ms"], record.results[baseline]["samples_ms"], strict=True)
    return bootstrap.median([ours / theirs for ours, theirs in pairs])


def _tiles(record: Record, baseline: str) -> list[Tile]:
    others = [case for case in record.results if case != baseline]
    if not others:
        return []
    best = min(others, key=lambda case: _ratio(record, case, baseline).value)
    found = _ratio(record, best, baseline)
    detail = f"{best} [{found.low:.2f}, {found.high:.2f}]"
    return [Tile(f"{found.value:.2f}x", "time of a published fit step", detail)]
