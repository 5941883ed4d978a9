"""Keeps the tables of a README, or of a document like it, at what the records say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import bootstrap
from benchmarks.fidelity.plots import NAMES
from benchmarks.report import performance, text
from benchmarks.report.doubts import doubts
from benchmarks.report.figures import figures_of
from benchmarks.report.markdown import markdown_table
from benchmarks.report.page import Table
from benchmarks.report.records import Record, RecordError, newest, read_records
from benchmarks.report.sections import serve
from engine.atomic_file import write_atomically

BEGIN = "<!-- benchmarks: written by hiper-bench report --readme; do not edit -->"
END = "<!-- benchmarks: end -->"


def update_readme(readme: Path, records: Sequence[Path]) -> bool:
    """Put tables made from records between the two marks of a README.

    Returns:
        Whether that changed the file.

    Raises:
        RecordError: the marks are missing, or a file is no record.
    """
    old = readme.read_text()
    new = updated(old, read_records(records), str(readme))
    if new != old:
        write_atomically(readme, new.encode())
    return new != old


def updated(content: str, records: Sequence[Record], name: str = "the README") -> str:
    """The README as it should be.

    Raises:
        RecordError: the marks are missing.
    """
    ladder = performance.BEGIN in content
    first, last = (performance.BEGIN, performance.END) if ladder else (BEGIN, END)
    before, begin, rest = content.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise RecordError(f"{name} lacks the lines {first!r} and {last!r}; put them where the tables belong")
    made = performance.tables(records) if ladder else tables(records)
    return f"{before}{first}\n{made}\n{last}{after}"


def tables(records: Sequence[Record]) -> str:
    """One table a script, from its newest record."""
    makers = {"edit": _edit, "rows": _rows, "serve": _serve, "fit": _fit, "presets": _presets, "fidelity": _fidelity}
    shown = [record for record in newest(records) if record.kind in makers]
    parts = [part for record in shown for part in (makers[record.kind](record), _source(record))]
    return "\n\n".join(parts)


def _edit(record: Record) -> str:
    settings, figures, rows = record.settings, figures_of(record), []
    for way, found in record.results.items():
        speed_up = text.estimate(figures[f"{way} / speed_up"].estimate)
        start, size = f"{found['first_picture_s']:.1f}", text.mebibytes(found["resident_bytes"])
        close = f"{found['psnr_db']:.0f}" if "psnr_db" in found else text.NONE
        rows.append([way, text.estimate(bootstrap.median(found["samples_ms"])), speed_up, start, size, close])
    what = f"an edit on {settings['model']}, {settings['steps']} steps, {settings['image_size']} pixels"
    return markdown_table(Table((what, "ms", "speed-up", "s to the first picture", "MiB", "dB to the first"), rows))


def _rows(record: Record) -> str:
    counts = list(dict.fromkeys(count for by_count in record.results.values() for count in by_count))
    rows = []
    for way, by_count in record.results.items():
        found = [by_count.get(count, {}) for count in counts]
        best = [tails.get("distinct") or tails.get("shared") for tails in found]
        rows.append([way, *(text.number(one["edit_steps_per_s"]) if one else text.NONE for one in best)])
    what = f"edit-steps a second on {record.settings['model']}, by edits in the batch"
    return markdown_table(Table((what, *counts), rows))


def _serve(record: Record) -> str:
    results, settings = record.results, record.settings
    rows = []
    for server, found in results["Offline"].items():
        alone = text.estimate(bootstrap.median(results["SingleStream"][server]["samples_ms"]))
        borne, picture = serve.rate(results["Server"][server]), results["pictures"][server]["worst_psnr_db"]
        made = text.number(found["edits_per_s"])
        rows.append([f"{server}, {serve.precision(record, server)}", alone, made, borne, f"{picture:.0f}"])
    what = f"edits over HTTP on {settings['model']}, each with a tail of its own"
    header = (what, "one at a time, ms", f"{serve.at_once(settings)}, edits/s", "borne, edits/s", "worst picture, dB")
    note = f"Borne: the highest rate tried at which {serve.in_time(settings)}; ≥: none that was tried was too high."
    return markdown_table(Table(header, rows, note))


def _fit(record: Record) -> str:
    baseline, rows = next(iter(record.results)), []
    for case, found in record.results.items():
        over = found["memory"]["peak_bytes"] - found["memory"]["before_bytes"]
        ratio = f"{found[f'time_ratio_to_{baseline}']:.2f}"
        rows.append([case, text.estimate(bootstrap.median(found["samples_ms"])), ratio, text.mebibytes(over)])
    count = record.settings.get("rows", 1)
    what = f"a fit step of {count} row{'s' * (count > 1)} on {record.settings['model']}"
    return markdown_table(Table((what, "ms", f"time to {baseline}", "MiB over the weights"), rows))


def _presets(record: Record) -> str:
    rows = [
        [str(index), *_whole_fit(found, "paper"), *_whole_fit(found, "fast"), _times(found)]
        for index, found in enumerate(record.results["subjects"])
    ]
    what = f"a whole fit on {record.settings['model']}, subject"
    columns = (f"{preset}: {column}" for preset in ("paper", "fast") for column in ("rows", "s", "ends at loss"))
    header = (what, *columns, "times less time to paper's end")
    return markdown_table(Table(header, rows))


def _whole_fit(found: dict[str, float], preset: str) -> list[str]:
    """Records of before have only some of it."""
    rows, seconds, loss = (found.get(f"{preset}_{what}") for what in ("rows", "wall_s", "end_loss"))
    return [
        text.NONE if rows is None else f"{rows:,}",
        text.NONE if seconds is None else f"{seconds:.1f}",
        text.NONE if loss is None else f"{loss:.4f}",
    ]


def _times(found: dict[str, float]) -> str:
    return f"{found['times_less_time']:.2f}" if "times_less_time" in found else "never there"


def _fidelity(record: Record) -> str:
    rows = []
    for row in record.results["settings"]:
        if not row["knob"] or (row["method"], row["value"]) in (("sdedit", 0.8), ("imagic", 0.5)):
            found = row["edits"]["all"]
            name = f"{NAMES[row['method']]}" + (f" {row['value']:g}" if row["knob"] else "")
            estimates = [bootstrap.Estimate(**found[figure]) for figure in ("success", "identity_error")]
            success = bootstrap.Estimate(*(100 * value for value in estimates[0]))
            rows.append([name, text.estimate(success), text.estimate(estimates[1])])
    what = f"edits of {record.settings['identities']} held-out animals"
    return markdown_table(Table((what, "edit success %", "identity error"), rows))


def _source(record: Record) -> str:
    cores = record.hardware["cores"]
    machine = f"{record.hardware['cpu']}, {cores} core{'s' * (cores > 1)}, load {record.hardware['load_average']:.1f}"
    commit = ", ".join([f"commit {record.commit}", *doubts(record)])
    return f"`{record.path.name}`: {commit}; {machine}; 95 % intervals in brackets."
