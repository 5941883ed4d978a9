"""What the model asks for and what the device can do."""

from __future__ import annotations

from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Section, Table, Text
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Counts and peaks, and what a floor is."""
    asked = [
        [name, f"{found['flops'] / 1e9:.3f}", f"{found['weight_bytes'] / 2**20:.1f}"]
        for name, found in record.results["networks"].items()
    ]
    given = [[name, *_rates(found)] for name, found in record.results["peaks"].items()]
    words = (
        "A floor is the time that the counted operations would take at the fastest matrix product measured here, or "
        "the weights at the fastest copy of memory, if they do not fit into the last cache and that takes longer. "
        "Nothing else is counted: no norms, no activations, no traffic of feature maps. No program reaches it; the "
        "factor says how far away it is."
    )
    return Section(
        f"Floors: {record.settings['model']} on {record.settings['device']}",
        [
            Text(words),
            Table(("network", "GFLOP a row", "MiB of weights"), asked),
            Table(("peak", "GFLOP/s", "GB/s"), given, "Each of the fastest round."),
        ],
        [record],
    )


def _rates(found: dict[str, float]) -> list[str]:
    rates = ("flops_per_s", "bytes_per_s")
    return [f"{found[rate] / 1e9:,.0f}" if rate in found else text.NONE for rate in rates]
