"""Single edits: latency, its parts, start and memory."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.bar_plot import Bar, Stack, bars, stacked
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.figures import figures_of
from benchmarks.report.floors import doubt
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Block, Gallery, Picture, Plot, Section, Table, Tile
from benchmarks.report.records import Record
from benchmarks.ways import is_exact

STAGES = {"text_ms": "text", "unet_ms": "UNet", "decode_ms": "decode", "other_ms": "host"}


def section(record: Record, book: Book) -> Section:
    """Latency with its floor, its stages, step by step; what was made."""
    results, settings = record.results, record.settings
    floors = book.floors(record)
    least = {way: floors.edit_ms(way, settings["steps"]) for way in results} if floors else {}
    medians = {way: bootstrap.median(found["samples_ms"]) for way, found in results.items()}
    drawn = [Bar(way, *estimate, colour(way), least.get(way)) for way, estimate in medians.items()]
    caption = "Median time of an edit with its 95 % interval" + ("; dashed: the floor" if floors else "")
    blocks: list[Block] = [Plot(bars(drawn, "ms"), caption), _table(record, least), *doubt(least, results)]
    with_stages = {way: found["stages"] for way, found in results.items() if found.get("stages")}
    if with_stages:
        blocks += [_stages(with_stages), _steps(with_stages)]
    if pictures := [_picture(way, found) for way, found in results.items() if found.get("picture_webp")]:
        blocks.append(Gallery(pictures))
    title = f"One edit: {settings['model']}, {settings['steps']} steps, {settings['image_size']} pixels"
    return Section(title, blocks, [record], _tiles(record))


def _table(record: Record, least: dict[str, float]) -> Table:
    figures = figures_of(record)
    header = ["way", "p50 ms", "p95", "p99", "speed-up", "x floor", "first s", "MiB", "PSNR"]
    rows = []
    for way, found in record.results.items():
        samples = found["samples_ms"]
        rows.append(
            [
                way,
                text.estimate(bootstrap.median(samples)),
                *(text.percentile(samples, percent) for percent in (95, 99)),
                text.estimate(figures[f"{way} / speed_up"].estimate, "x"),
                f"{found['median_ms'] / least[way]:.1f}" if way in least else text.NONE,
                f"{found['first_picture_s']:.2f}",
                text.mebibytes(found["resident_bytes"]),
                f"{found['psnr_db']:.0f}" if "psnr_db" in found else text.NONE,
            ]
        )
    note = (
        "In brackets 95 % intervals, speed-ups in pairs of rounds; a dash: too few samples, or not measured. x floor: "
        "how many times the floor. First: seconds from the start of a process to its first picture. PSNR: the picture "
        f"against that of {next(iter(record.results))} in dB; 100 is the same picture."
    )
    return Table(header, rows, note)


def _stages(stages: dict[str, dict[str, Any]]) -> Plot:
    rows = [
        Stack(way, [(name, statistics.median(_totals(found[stage]))) for stage, name in STAGES.items()])
        for way, found in stages.items()
    ]
    return Plot(stacked(rows, "ms"), "Where the time goes, medians; encoding is missing, since an edit needs no image")


def _totals(samples: list[Any]) -> list[float]:
    return [sum(found) if isinstance(found, list) else found for found in samples]


def _steps(stages: dict[str, dict[str, Any]]) -> Plot:
    curves = []
    for way, found in stages.items():
        by_step = np.median(np.asarray(found["unet_ms"], float), axis=0)
        points = [(float(step), float(value)) for step, value in enumerate(by_step, start=1)]
        curves.append(Line(way, points, colour(way), dots=False, dashed=not is_exact(way)))
    caption = "Each step's call of the UNet, two rows, medians; dashed: lower precision"
    return Plot(lines(curves, Frame("step", "ms of the UNet")), caption)


def _picture(way: str, found: dict[str, Any]) -> Picture:
    return Picture(f"data:image/webp;base64,{found['picture_webp']}", way)


def _tiles(record: Record) -> list[Tile]:
    """The best exact way and the best way of ours, against diffusers."""
    reference = next(iter(record.results))
    ours = [way for way in record.results if colour(way).startswith("us")]
    if not ours:
        return []
    best = min(ours, key=lambda way: _median_ms(record, way))
    best_exact = min(filter(is_exact, ours), key=lambda way: _median_ms(record, way), default=best)
    shown = {best_exact: f"as fast as {reference}", best: f"as fast as {reference}, in lower precision"}
    shown[best_exact] = f"as fast as {reference}"
    return [_tile(record, way, meaning) for way, meaning in shown.items()]


def _tile(record: Record, way: str, meaning: str) -> Tile:
    found = figures_of(record)[f"{way} / speed_up"].estimate
    detail = f"{way}: {_median_ms(record, way):.0f} ms [{found.low:.2f}x, {found.high:.2f}x]"
    return Tile(f"{found.value:.2f}x", meaning, detail)


def _median_ms(record: Record, way: str) -> float:
    return float(record.results[way]["median_ms"])
