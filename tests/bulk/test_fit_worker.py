"""Fits in a worker, without Ray. Oracle: `HiPer.fit`, which is `hiper-fit`, with the same picture and seed."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.bulk.errors import FolderError, TableError
from engine.bulk.fit_table import read_fits
from engine.bulk.fit_worker import SUFFIX, FitOptions, FitWorker
from engine.bulk.folder import Folder
from engine.bulk.rows import Task
from engine.bulk.worker import Outcome
from engine.server import child
from engine.tail_file import read_tail_file
from hiper.pipeline import HiPer
from hiper.recipe import choose_config
from hiper.tail import Tail
from tests.bulk.conftest import WriteTable

ROW = {"prompt": "a dog", "image": "rex.png", "seed": 3, "steps": 12, "crop": "pad", "subject": "person"}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rex.png")
    return tmp_path / "rex.png"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, sd1_folder: Path) -> FitWorker:
    return make_worker(tmp_path_factory.mktemp("work") / "out", sd1_folder)


def make_worker(path: Path, model: Path) -> FitWorker:
    folder = Folder(path, SUFFIX)
    with folder.driving():
        pass
    return FitWorker(folder, 1, FitOptions(str(model), "cpu", "fp32", checkpoint_every=5))


@pytest.fixture
def whole(sd1_folder: Path, picture: Path, one_thread: None) -> Iterator[Tail]:
    hiper = HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")
    config = choose_config("fast", "person", hiper.recipe, seed=3, steps=12)
    yield hiper.fit(picture, "a dog", config=config, crop="pad")


def tasks(write_table: WriteTable, *changes: dict[str, Any]) -> list[Task]:
    return read_fits(write_table([ROW | change for change in changes]))


def same(path: Path, tail: Tail) -> bool:
    file = read_tail_file(path)
    return file.digest == tail.digest and np.array_equal(file.tail_init, tail.initial) and file.info == tail.info


def test_a_tail_is_that_of_hiper_fit(worker: FitWorker, write_table: WriteTable, whole: Tail) -> None:
    [task] = tasks(write_table, {"id": 1, "name": "rex"})
    assert worker.do(task) == Outcome("1", "done")
    assert same(worker._folder.path / "rex.hiper.safetensors", whole)
    assert not [*worker._folder.checkpoints.iterdir()]


def test_a_fit_whose_process_is_killed_goes_on(
    worker: FitWorker, write_table: WriteTable, sd1_folder: Path, picture: Path, one_thread: None
) -> None:
    [task] = tasks(write_table, {"id": "long", "steps": 40})

    def kill_at_a_checkpoint() -> None:
        for _ in range(6000):
            if worker._checkpoint(task).exists():
                os.kill(worker._process.pid or 0, signal.SIGKILL)
                return
            time.sleep(0.005)

    killer = threading.Thread(target=kill_at_a_checkpoint)
    killer.start()
    assert worker.do(task) == Outcome("long", "done")
    killer.join()
    assert worker._process.restarts == 1
    hiper = HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")
    config = choose_config("fast", "person", hiper.recipe, seed=3, steps=40)
    assert same(worker._folder.result(task), hiper.fit(picture, "a dog", config=config, crop="pad"))
    assert torch.get_num_threads() == 1


def test_a_checkpoint_of_an_earlier_run_is_gone_on_from(
    worker: FitWorker, write_table: WriteTable, picture: Path
) -> None:
    """A damaged one tells: the fit that reads it says so, and starts from the beginning."""
    [task] = tasks(write_table, {"id": "again"})
    worker._checkpoint(task).write_bytes(b"damaged")
    assert worker.do(task) == Outcome("again", "done")
    assert not worker._checkpoint(task).exists()


def test_a_checkpoint_of_a_row_that_fails_for_good_is_gone(
    worker: FitWorker, write_table: WriteTable, picture: Path
) -> None:
    [task] = tasks(write_table, {"id": "p", "prompt": "dog " * 80})
    worker._checkpoint(task).write_bytes(b"of another model, perhaps")
    assert worker.do(task).what == "failed"
    assert not worker._checkpoint(task).exists()


def test_weights_that_changed_under_the_same_name_are_refused(
    worker: FitWorker, write_table: WriteTable, picture: Path, tmp_path: Path
) -> None:
    [first, second] = tasks(write_table, {"id": "w1"}, {"id": "w2"})
    assert worker.do(first).what == "done"
    tied = worker._folder.locks / "model_sha256"
    digest = tied.read_text()
    tied.write_text("0" * 64)
    found = worker.do(second)
    assert found.what == "hopeless" and f"weights 000000000000, not {digest[:12]}; name another folder" in found.reason
    tied.write_text(digest)
    assert worker.do(second).what == "done"
    assert read_tail_file(worker._folder.result(second)).info.model_digest == digest


def test_another_picture_under_the_same_name_is_noticed(
    worker: FitWorker, write_table: WriteTable, picture: Path
) -> None:
    [task] = tasks(write_table, {"id": "s1"})
    Image.new("RGB", (64, 64), "red").save(picture)
    found = worker.do(task)
    assert found.what == "failed" and "rex.png was changed after the table was checked" in found.reason
    [again] = tasks(write_table, {"id": "s1"})
    assert again.mark != task.mark and worker.do(again).what == "done"
    picture.rename(picture.with_name("moved.png"))
    [moved] = tasks(write_table, {"id": "s1", "image": "moved.png"})
    assert worker._folder.state([moved]).done.keys() == {"s1"}
    Image.new("RGB", (64, 64), "blue").save(picture)
    with pytest.raises(FolderError, match="was made when row s1 asked for something else"):
        worker._folder.state(tasks(write_table, {"id": "s1"}))


def test_a_row_that_fails_leaves_the_others_alone(worker: FitWorker, write_table: WriteTable, picture: Path) -> None:
    (picture.parent / "bad.png").write_bytes(b"no picture")
    found = [
        worker.do(task)
        for task in tasks(write_table, {"id": "x", "image": "bad.png"}, {"id": "y", "prompt": "dog " * 80}, {"id": "z"})
    ]
    assert [one.what for one in found] == ["failed", "failed", "done"]
    assert "image is no picture" in found[0].reason and "prompt has 80 tokens" in found[1].reason


def test_a_model_that_cannot_be_loaded_is_hopeless(tmp_path: Path, write_table: WriteTable, picture: Path) -> None:
    [task] = tasks(write_table, {"id": "x"})
    found = make_worker(tmp_path / "out", tmp_path).do(task)
    assert found.what == "hopeless" and "is no pipeline" in found.reason


def test_a_process_that_always_dies_is_hopeless(
    tmp_path: Path, sd1_folder: Path, write_table: WriteTable, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitOptions, "command", lambda options: [sys.executable, "-c", "raise SystemExit(1)"])
    monkeypatch.setattr(child, "MAX_DELAY_S", 0.1)
    [task] = tasks(write_table, {"id": "x"})
    found = make_worker(tmp_path / "out", sd1_folder).do(task)
    assert found.what == "hopeless" and "ended 4 times before it was ready" in found.reason


def test_rows_without_a_picture_are_named(write_table: WriteTable, picture: Path) -> None:
    with pytest.raises(TableError) as refused:
        tasks(
            write_table,
            {"id": "a", "image": "gone.png"},
            {"id": "b", "steps": 0},
            {"id": "c", "seed": -1},
            {"id": "d", "prompt": " "},
            {"id": "e", "learning_rate": 0},
            {"id": "f", "preset": "slow"},
            {"id": "h", "learning_rate": "inf"},
            {"id": "i", "steps": 99999999999},
            {"id": "g"},
        )
    lines = str(refused.value).split("\n  ")[1:]
    words = ["there is no file", "steps is 0", "seed is -1", "prompt is empty", "learning_rate is 0", "slow"]
    words += ["learning_rate is inf", "steps is 99999999999"]
    assert len(lines) == len(words), lines
    assert all(word in line for word, line in zip(words, lines, strict=True)), lines
