"""What a folder knows of its rows, after ends of every kind."""

import csv
import multiprocessing
import os
import signal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.bulk import locks
from engine.bulk.errors import FolderError
from engine.bulk.folder import Folder
from engine.bulk.journal import Begun, Done, Failed, Journal, read_history
from engine.bulk.locks import work
from engine.bulk.rows import EditRow, Task

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TASKS = [Task(EditRow(id=id, prompt="a dog", tail="t"), f"mark of {id}") for id in "abc"]


def done(id: str, mark: str = "", file: str = "") -> Done:
    return Done(id=id, file=file or f"{id}.png", mark=mark or f"mark of {id}", seconds=1.5, edits_per_call=2.0)


def cells(path: Path) -> list[list[str]]:
    return [*csv.reader(path.read_text().splitlines())]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "out", ".png")
    with folder.driving():
        return folder


def test_a_row_is_done_once_its_file_is_there(folder: Folder) -> None:
    journal = Journal(folder.journals)
    for event in (Begun(id="a"), done("a"), Begun(id="b"), done("b"), Begun(id="c")):
        journal.write(event)
    folder.result(TASKS[0]).touch()
    Journal(folder.journals).write(Failed(id="c", code="late", reason="it was, sadly"))
    state = folder.write_tables(TASKS)
    assert [*state.done] == ["a"] and [task.row.id for task in state.pending] == ["b", "c"]
    assert cells(folder.path / "results.csv") == [
        ["id", "file", "seconds", "attempt"],
        ["a", "a.png", "1.500", "1"],
    ]
    assert cells(folder.path / "failures.csv") == [
        ["id", "code", "reason", "attempt"],
        ["c", "late", "it was, sadly", "1"],
    ]
    journal.write(Begun(id="c"))
    journal.write(done("c"))
    folder.result(TASKS[2]).touch()
    folder.write_tables(TASKS)
    assert (folder.path / "results.csv").read_text().splitlines()[-1] == "c,c.png,1.500,2"
    assert not (folder.path / "failures.csv").exists()


EVENTS = [
    Begun(id="a", at=1),
    Failed(id="a", code="x", reason="ünlucky", at=2),
    Done(id="a", file="a.png", mark="m", seconds=1, edits_per_call=1, at=3),
    Begun(id="b", at=4),
]
LINES = b"".join(msgspec.json.encode(event) + b"\n" for event in EVENTS)


@SAME_FOLDER
@given(st.integers(0, len(LINES)))
def test_a_line_cut_off_by_the_power_is_no_line(folder: Folder, length: int) -> None:
    (folder.journals / "run-1.jsonl").write_bytes(LINES[:length])
    history = read_history(folder.journals)
    whole = (LINES[:length] + b"\n").replace(b"}\n\n", b"}\n").count(b"}\n")
    assert history.attempts.total() == (whole > 0) + (whole > 3)
    assert ("a" in history.failed, "a" in history.done) == (whole > 1, whole > 2)


def test_a_line_cut_off_takes_no_other_with_it(folder: Folder) -> None:
    journal = Journal(folder.journals)
    journal.write(Begun(id="a"))
    [path] = folder.journals.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    journal.write(done("a"))
    assert [*read_history(folder.journals).done] == ["a"]


def test_a_disk_that_takes_parts_gets_whole_lines(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    Journal(folder.journals).write(done("a"))
    assert [*read_history(folder.journals).done] == ["a"]


def test_a_disk_that_is_full_gets_no_part_of_a_line(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, write = Journal(folder.journals), os.write
    journal.write(Begun(id="a"))
    [path] = folder.journals.iterdir()
    before, room = path.read_bytes(), iter([7])

    def fill(fd: int, data: bytes) -> int:
        for size in room:
            return write(fd, data[:size])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fill)
        with pytest.raises(OSError, match="No space left"):
            journal.write(done("a"))
    assert path.read_bytes() == before
    journal.write(done("a"))
    assert [*read_history(folder.journals).done] == ["a"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (None, "a.png is there, but was not made for row a"),
        (done("a", mark="other"), "a.png was made when row a asked for something else"),
        (done("a", file="b.png"), "a.png is there, but was not made for row a"),
    ],
)
def test_results_of_others_are_not_taken_for_ours(folder: Folder, event: Done | None, words: str) -> None:
    if event is not None:
        Journal(folder.journals).write(event)
    folder.result(TASKS[0]).touch()
    with pytest.raises(FolderError, match=words):
        folder.state(TASKS)


def test_a_folder_is_tied_to_its_first_model_and_rid_of_unfinished_files(folder: Folder) -> None:
    unfinished, own = folder.path / ".0123456789abcdef.tmp", folder.path / ".hidden.tmp"
    unfinished.touch()
    own.touch()
    folder.claim({"what": "edits", "model": "one"})
    folder.claim({"what": "edits", "model": "one"})
    assert own.exists() and not unfinished.exists()
    with pytest.raises(FolderError, match="out has edits by one, not edits by two; name another folder"):
        folder.claim({"what": "edits", "model": "two"})
    with pytest.raises(FolderError, match="not edits by one with weights 0123456789ab;"):
        folder.claim({"what": "edits", "model": "one", "model_sha256": "0123456789abcdef"})


def test_one_driver_and_not_while_workers_of_another_live(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder.driving(), pytest.raises(FolderError, match="out is in use by another hiper-bulk"), folder.driving():
        pass
    worker = multiprocessing.get_context("fork").Process(target=be_a_worker, args=(folder.locks,))
    worker.start()
    while not (folder.locks / "ready").exists():
        assert worker.is_alive()
    monkeypatch.setattr(locks, "ORPHANS_S", 0.3)
    with pytest.raises(FolderError, match="workers of an earlier hiper-bulk still write"), folder.driving():
        pass
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    monkeypatch.setattr(locks, "ORPHANS_S", 60)
    with folder.driving():
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL


def be_a_worker(folder: Path) -> None:
    work(folder)
    (folder / "ready").touch()
    signal.pause()
