"""One module a kind of record: what a report says of it."""

from collections.abc import Callable

from benchmarks.report.book import Book
from benchmarks.report.page import Section
from benchmarks.report.records import Record
from benchmarks.report.sections import (
    batching,
    capacity,
    edit,
    fidelity,
    fit,
    floors,
    gate,
    images,
    ladder,
    presets,
    rows,
    scale,
    serve,
    startup,
    suite,
    unet,
)

Maker = Callable[[Record, Book], Section]

MAKERS: dict[str, Maker] = {
    "edit": edit.section,
    "rows": rows.section,
    "batching": batching.section,
    "serve": serve.section,
    "scale": scale.section,
    "capacity": capacity.section,
    "startup": startup.section,
    "unet": unet.section,
    "fit": fit.section,
    "presets": presets.section,
    "fidelity": fidelity.section,
    "fidelity-gate": gate.section,
    "images": images.section,
    "floors": floors.section,
    "ladder": ladder.section,
    "suite": suite.section,
}
