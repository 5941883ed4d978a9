"""From records to the files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import history
from benchmarks.report.book import Book
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.page import Section
from benchmarks.report.records import Record, newest, read_records
from benchmarks.report.sections import MAKERS, other
from engine.atomic_file import write_atomically


def write_report(folders: Sequence[Path], output: Path) -> list[Path]:
    """Write `report.html` and `report.md`.

    Args:
        folders: of records; of each script and model the newest record is shown, the older ones over commits.
        output: folder, made if missing.

    Returns:
        The paths of both.

    Raises:
        RecordError: a file is no record.
    """
    title, lead, sections = compose(read_records(folders))
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / "report.html", output / "report.md"]
    for path, write in zip(paths, (html, markdown), strict=True):
        write_atomically(path, write(title, lead, sections).encode())
    return paths


def compose(records: Sequence[Record]) -> tuple[str, str, list[Section]]:
    """Title, lead and sections of a report."""
    book = Book(records)
    shown = newest(records)
    sections = [MAKERS.get(record.kind, other.section)(record, book) for record in shown]
    return "HiPer, measured", _lead(shown), [*sections, history.section(book)]


def _lead(records: Sequence[Record]) -> str:
    """On what, when, of which commit, and how quiet."""
    machines = sorted({_machine(record) for record in records})
    commits = list(dict.fromkeys(record.commit for record in records))
    days = sorted({record.time[:10] for record in records})
    loads = [record.hardware["load_average"] for record in records]
    starred = " A star: files differed from the commit." if any(commit.endswith("*") for commit in commits) else ""
    busy = f"Load average {min(loads):.1f} to {max(loads):.1f} as measurements ended."
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{'; '.join(machines)}. {span}, commit {', '.join(commits)}.{starred} {busy}"


def _machine(record: Record) -> str:
    gpus = [str(gpu.get("name")) for gpu in record.hardware.get("gpus", [])]
    cores = record.hardware["cores"]
    return f"{record.hardware['cpu']}, {cores} core{'s' * (cores > 1)}" + "".join(f", {gpu}" for gpu in gpus)
