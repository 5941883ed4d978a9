"""Edits in a worker, without Ray. Oracle: `hiper-edit --bundle`, for the same rows."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from engine.bulk import worker as worker_module
from engine.bulk.edit_table import read_edits
from engine.bulk.edit_worker import SUFFIX, EditWorker
from engine.bulk.errors import TableError
from engine.bulk.folder import Folder
from engine.bulk.rows import Task
from engine.bulk.worker import Outcome
from engine.bundle import open_bundle
from engine.bundle_files import read_manifest
from engine.runtimes import RuntimeOptions
from engine.server.engine_options import EngineOptions
from engine.tail_file import TailFile, write_tail_file
from hiper.cli.bundle_edits import BundleEdits
from tests.bulk.conftest import WriteTable

TOGETHER = 8
WISHES = [
    {"id": f"r{number}", "prompt": prompt, "seed": number, "num_inference_steps": 20 + number, **more}
    for number, (prompt, more) in enumerate(
        [
            ("a dog", {}),
            ("a cat", {"guidance_scale": 1}),
            ("a cat", {"guidance_scale": 7.5, "negative_prompt": "a dog"}),
            ("a dog a dog", {"solver": "dpmpp_2m"}),
            ("a cat a dog", {"solver": "euler", "tail_strength": 0.3}),
            ("a dog", {"name": "rex"}),
            ("a cat", {"tail_strength": 1}),
            ("a dog", {"solver": "ddim"}),
        ]
    )
]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> EditWorker:
    return make_worker(tmp_path_factory.mktemp("work") / "out", bundle)


def make_worker(path: Path, bundle: Path, workers: int = 1) -> EditWorker:
    folder = Folder(path, SUFFIX)
    if not folder.path.exists():
        with folder.driving():
            pass
    options = EngineOptions(bundle, "onnxruntime", "exact", threads=1, buckets=(1, 2, 4, 8, 16), max_edits=TOGETHER)
    return EditWorker(folder, 1, options, timeout_s=60, workers=workers)


@pytest.fixture
def tasks(bundle: Path, tail: Path, write_table: WriteTable) -> Callable[..., list[Task]]:
    def read(rows: list[dict[str, Any]]) -> list[Task]:
        return read_edits(write_table(rows), bundle, read_manifest(bundle), tail)

    return read


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(TOGETHER) as pool:
        yield pool


def test_pictures_are_those_of_hiper_edit(
    worker: EditWorker,
    tasks: Callable[..., list[Task]],
    bundle: Path,
    tail_file: TailFile,
    pool: ThreadPoolExecutor,
) -> None:
    todo = tasks(WISHES)
    assert [*pool.map(worker.do, todo)] == [Outcome(task.row.id, "done") for task in todo]
    hiper_edit = BundleEdits(open_bundle(bundle, "onnxruntime", RuntimeOptions("exact", 1)))
    for task, wish in zip(todo, WISHES, strict=True):
        options = {name: value for name, value in wish.items() if name not in ("id", "name", "prompt")}
        [wanted] = hiper_edit.edit(tail_file, str(wish["prompt"]), **options)
        with Image.open(worker._folder.result(task)) as found:
            assert np.array_equal(np.asarray(found), np.asarray(wanted)), wish
    state = worker._folder.write_tables(todo)
    assert {name: one.file for name, one in state.done.items()} == {
        str(wish["id"]): f"{wish.get('name', wish['id'])}.png" for wish in WISHES
    }
    assert max(one.edits_per_call for one in state.done.values()) > 1


def test_a_call_of_the_unet_holds_rows_of_many_edits(
    worker: EditWorker, tasks: Callable[..., list[Task]], pool: ThreadPoolExecutor
) -> None:
    todo = tasks([{"id": f"t{n}", "prompt": "a dog", "seed": n, "num_inference_steps": 500} for n in range(16)])
    assert {one.what for one in pool.map(worker.do, todo)} == {"done"}
    done = worker._folder.state(todo).done.values()
    # How many, of TOGETHER, is a matter of how fast rows come beside how fast the toy's steps are; alone it would be 1.
    assert sum(one.edits_per_call for one in done) / len(done) > 2


def test_a_result_that_is_there_is_not_made_again(worker: EditWorker, tasks: Callable[..., list[Task]]) -> None:
    [task] = tasks([{"id": "once", "prompt": "a dog", "num_inference_steps": 3}])
    assert worker.do(task).what == "done"
    first = worker._folder.result(task).stat()
    assert worker({"task": msgspec.json.encode(task)}) == {"id": "once", "what": "done", "reason": ""}
    assert worker._folder.result(task).stat() == first
    assert worker._folder.state([task]).attempts["once"] == 1


def test_a_row_that_fails_leaves_the_others_alone(
    worker: EditWorker, tasks: Callable[..., list[Task]], pool: ThreadPoolExecutor, tail: Path
) -> None:
    rows = [{"id": f"f{number}", "prompt": "a dog", "num_inference_steps": 5} for number in range(4)]
    rows[1] |= {"tail_strength": 3e38}
    rows[2] |= {"tail": "gone.hiper.safetensors"}
    (tail.parent / "gone.hiper.safetensors").write_bytes(tail.read_bytes())
    todo = tasks(rows)
    (tail.parent / "gone.hiper.safetensors").unlink()
    found = [*pool.map(worker.do, todo)]
    assert [one.what for one in found] == ["done", "failed", "failed", "done"]
    assert "became infinite" in found[1].reason and "gone.hiper.safetensors cannot be read" in found[2].reason
    state = worker._folder.write_tables(todo)
    assert [(one.id, one.code) for one in state.failed.values()] == [("f1", "infinite"), ("f2", "tail")]
    assert (worker._folder.path / "failures.csv").read_text().count("became infinite") == 1


def test_another_tail_under_the_same_name_is_noticed(
    worker: EditWorker, tasks: Callable[..., list[Task]], tail: Path, tail_file: TailFile
) -> None:
    wish = {"id": "n", "prompt": "a dog", "num_inference_steps": 1}
    [task] = tasks([wish])
    write_tail_file(tail, replace(tail_file, info=replace(tail_file.info, tail_strength=0.1)))
    found = worker.do(task)
    assert found.what == "failed" and "rex.hiper.safetensors was changed after the table was checked" in found.reason
    assert tasks([wish])[0].mark != task.mark


def test_the_death_of_the_engine_costs_no_row(
    worker: EditWorker, tasks: Callable[..., list[Task]], pool: ThreadPoolExecutor
) -> None:
    todo = tasks([{"id": f"d{n}", "prompt": "a dog", "seed": n, "num_inference_steps": 400} for n in range(12)])

    def kill_when_busy() -> None:
        for _ in range(60_000):
            if worker._client.depth == TOGETHER:
                os.kill(worker._client.pid or 0, signal.SIGKILL)
                return
            time.sleep(0.001)

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    assert [one.what for one in pool.map(worker.do, todo)] == ["done"] * 12
    killer.join()
    assert worker._client.restarts == 1
    assert {worker._folder.state(todo).attempts[task.row.id] for task in todo} == {1}


def test_an_engine_that_cannot_start_is_hopeless(
    tmp_path: Path, bundle: Path, tasks: Callable[..., list[Task]]
) -> None:
    [task] = tasks([{"id": "x", "prompt": "a dog"}])
    found = make_worker(tmp_path / "out", tmp_path / "no bundle").do(task)
    assert found.what == "hopeless" and "the edit engine cannot start" in found.reason


def test_workers_that_always_die_end_in_words(
    tmp_path: Path, bundle: Path, tasks: Callable[..., list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would start them again for ever."""
    monkeypatch.setattr(worker_module, "LIVES", 1)
    [task, other] = tasks([{"id": id, "prompt": "a dog", "num_inference_steps": 1} for id in "xy"])
    lives = [make_worker(tmp_path / "out", bundle) for _ in range(3)]
    found = lives[2].do(task)
    assert found.what == "hopeless" and found.reason.startswith("workers were started 1 times and more")
    assert lives[1].do(task).what == "done"
    assert make_worker(tmp_path / "out", bundle).do(other).what == "done", "the end of a row makes up for all before"


def test_the_first_start_of_a_worker_is_no_death(
    tmp_path: Path, bundle: Path, tasks: Callable[..., list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LIVES", 0)
    [task] = tasks([{"id": "x", "prompt": "a dog", "num_inference_steps": 1}])
    assert [make_worker(tmp_path / "out", bundle, workers=2) for _ in range(2)][1].do(task).what == "done"


def test_a_full_disk_is_hopeless(worker: EditWorker, tasks: Callable[..., list[Task]], monkeypatch: Any) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    [task] = tasks([{"id": "y", "prompt": "a dog", "num_inference_steps": 1}])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        assert "No space left" in worker.do(task).reason
    assert worker.do(task).what == "done"


def test_rows_that_the_bundle_refuses_are_named(tasks: Callable[..., list[Task]], tail: Path) -> None:
    (tail.parent / "none.hiper.safetensors").write_bytes(b"none")
    rows: list[dict[str, Any]] = [
        {"id": "a", "prompt": "dog " * 80},
        {"id": "b", "prompt": "a dog", "num_inference_steps": 0},
        {"id": "c", "prompt": "a dog", "tail": "none.hiper.safetensors"},
        {"id": "d", "prompt": "a dog", "seed": -1},
        {"id": "e", "prompt": "a dog", "solver": "magic"},
        {"id": "f", "prompt": " "},
    ]
    with pytest.raises(TableError) as refused:
        tasks([*rows, {"id": "g", "prompt": "a dog"}])
    lines = str(refused.value).split("\n  ")[1:]
    words = ["has 80 tokens", "num_inference_steps", "is not a tail file", "seed", "magic", "prompt is empty"]
    assert len(lines) == len(words), lines
    assert all(word in line for word, line in zip(words, lines, strict=True)), lines
