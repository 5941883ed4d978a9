"""The tables of docs/performance.md: what was counted and predicted, and beside it what a GPU answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.markdown import markdown_table
from benchmarks.report.page import Table
from benchmarks.report.records import Record, RecordError, newest

BEGIN = "<!-- ladder: written by hiper-bench report --readme; do not edit -->"
END = "<!-- ladder: end -->"
WAITING = "not measured"

_TITLES = {"fit": "A fit: ms a step and row", "edit": "An edit, {edit_steps} guided steps: ms"}


def tables(records: Sequence[Record]) -> str:
    """The newest ladder's tables.

    Raises:
        RecordError: there is no ladder among the records.
    """
    shown = newest(records)
    ladder = next((record for record in shown if record.kind == "ladder"), None)
    if ladder is None:
        raise RecordError("the records hold no ladder; run: python -m benchmarks.ladder")
    parts = [markdown_table(counts(ladder))]
    for device, ladders in ladder.results["predictions"].items():
        sheet = ladder.settings["datasheets"][device]
        parts.append(f"### {sheet['name']}\n\n{_peaks(sheet)}")
        parts += [markdown_table(rungs(kind, device, ladder, shown)) for kind in ladders]
    return "\n\n".join(parts)


def counts(ladder: Record) -> Table:
    """What a step of a fit and of an edit asks for."""
    rows = []
    for name, found in ladder.results["counts"].items():
        sizes = [f"{found[f'{part}_bytes'] / 1e9:.2f}" for part in ("weight", "product", "all")]
        rows.append([name, f"{found['flops'] / 1e12:.3f}", *sizes, f"{found['products']} of {found['kernels']}"])
    what = f"{ladder.settings['model']} at 512 pixels, in half precision"
    header = (what, "TFLOP", "GB of weights", "GB moved by products", "GB moved by all", "kernels that are products")
    return Table(header, rows)


def rungs(kind: str, device: str, ladder: Record, records: Sequence[Record]) -> Table:
    """One ladder on one device, from its floors to its outcomes."""
    gpu = ladder.settings["datasheets"][device]["name"]
    rows = [
        [
            rung["rung"],
            f"`{rung['case']}`",
            *(text.number(rung[f"{name}_ms"]) for name in ("floor", "host", "device", "predicted")),
            outcome(kind, rung, ladder, gpu, records),
        ]
        for rung in ladder.results["predictions"][device][kind]
    ]
    return Table(
        (_TITLES[kind].format_map(ladder.settings), "case", "floor", "host", "device", "predicted", "outcome"), rows
    )


def _peaks(sheet: dict[str, Any]) -> str:
    names = (("half", "fp16 and bf16"), ("tf32", "TF32"), ("fp32", "fp32"))
    peaks = [f"{sheet[f'{name}_flops_per_s'] / 1e12:.0f} TFLOP/s in {words}" for name, words in names]
    return f"Peaks, dense: {', '.join(peaks)}; {sheet['bytes_per_s'] / 1e12:.2f} TB/s ({sheet['source']})."


def outcome(kind: str, rung: dict[str, Any], ladder: Record, gpu: str, records: Sequence[Record]) -> str:
    """What was measured of a rung on a GPU of that name, in milliseconds with its interval."""
    model, edit_steps = str(ladder.settings["model"]), int(ladder.settings["edit_steps"])
    there = (record for record in records if record.kind in ("fit", "edit", "rows") and _is_of(record, model, gpu))
    found = next((samples for record in there if (samples := _samples(kind, rung, edit_steps, record))), None)
    return text.estimate(bootstrap.median(found)) if found else WAITING


def _samples(kind: str, rung: dict[str, Any], edit_steps: int, record: Record) -> list[float]:
    case, rows = rung["case"], int(rung["rows"])
    if kind == record.kind == "fit" and rows == record.settings.get("rows", 1):
        return [sample / rows for sample in record.results.get(case, {}).get("samples_ms", [])]
    if kind == record.kind == "edit" and rows == 2:
        return list(record.results.get(case, {}).get("samples_ms", []))
    if kind == "edit" and record.kind == "rows" and rows > 2:
        edits = rows // 2
        step = record.results.get(case, {}).get(str(edits), {}).get("distinct", {})
        return [edit_steps * sample / edits for sample in step.get("samples_ms", [])]
    return []


def _is_of(record: Record, model: str, gpu: str) -> bool:
    names = [str(found.get("name")) for found in record.hardware.get("gpus", [])]
    on_gpu = str(record.settings.get("device")).startswith("cuda") and any(gpu in name for name in names)
    return on_gpu and str(record.settings.get("model")).split("/")[-1] == model
