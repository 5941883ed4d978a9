"""Whether the model is good enough to measure edits on."""

from __future__ import annotations

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Section, Table
from benchmarks.report.records import Record

_PICTURES = {
    "probe_on_rendered": "rendered",
    "probe_on_decoded": "rendered, through the VAE",
    "from_text": "made from captions",
    "from_detailed_text": "made from captions with every detail",
}


def section(record: Record, book: Book) -> Section:
    """The share of pictures that the probe reads as what they are, or were asked to be."""
    results, samples = record.results, record.settings["samples"]
    names = [name for name in _PICTURES if name in results]
    rows = []
    for name in names:
        # Every second caption is detailed.
        count = samples // 2 if name == "from_detailed_text" else samples
        rows += [
            [f"{_PICTURES[name]}: {what}", _share(right, count), str(count)] for what, right in results[name].items()
        ]
    note = f"The VAE keeps {results['vae_psnr_db']:.1f} dB PSNR of {samples} rendered pictures."
    table = Table(("pictures", "read right, %", "of"), rows, note)
    return Section("Is the model good enough to measure edits on?", [table], [record])


def _share(right: float, count: int) -> str:
    pictures = round(right * count)
    found = bootstrap.mean([100.0] * pictures + [0.0] * (count - pictures))
    return text.estimate(found)
