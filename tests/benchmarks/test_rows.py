"""Oracles: an editor whose steps last as long as the test says, and diffusers' UNet."""

from pathlib import Path

import pytest

from benchmarks.rows import STEPS, StepClock, engine_cases, main, measure, requests, table, torch_cases
from engine.bundle_files import read_manifest
from tests.engine.conftest import write_toy_bundle


def test_throughput_counts_the_steps_of_single_edits() -> None:
    results = measure({("slow", 1, "shared"): lambda: [8.0, 12.0], ("slow", 4, "distinct"): lambda: [20.0, 20.0]}, 3)
    assert results["slow"]["1"]["shared"]["samples_ms"] == [8, 12] * 3
    assert results["slow"]["1"]["shared"]["warm_up_ms"] == [8, 12]
    assert results["slow"]["1"]["shared"]["edit_steps_per_s"] == 100
    assert results["slow"]["4"]["distinct"]["edit_steps_per_s"] == 200
    assert table(results).row_count == 2


def test_the_engine_runs_distinct_and_shared_tails_in_one_batch(tmp_path: Path) -> None:
    write_toy_bundle(tmp_path)
    cases = dict(engine_cases("onnxruntime", tmp_path, (1, 3)))
    assert [*cases] == [("onnxruntime", 1, "distinct"), ("onnxruntime", 3, "distinct"), ("onnxruntime", 3, "shared")]
    for run in cases.values():
        assert len(run()) == STEPS - 1 and min(run()) > 0
    asked = requests(read_manifest(tmp_path), 3)
    assert len({id(request.tail) for request in asked}) == 3


def test_a_clock_follows_one_edit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Step:
        def __init__(self, edit: object) -> None:
            self.edit = edit

    now = iter([1.0, 1.5, 2.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    clock = StepClock()
    for edit in ("first", "second", "first", "second", "first"):
        clock(Step(edit))  # type: ignore[arg-type]
    assert clock.steps_ms == [500, 1000]


def test_the_unet_runs_at_every_number_of_rows(sd1_folder: Path) -> None:
    cases = dict(torch_cases("diffusers", str(sd1_folder), "cpu", (1, 2)))
    assert [*cases] == [("diffusers", 1, "shared"), ("diffusers", 2, "shared")]
    assert all(min(run()) > 0 for run in cases.values())


def test_a_way_that_is_not_here_is_an_error_in_the_record(tmp_path: Path) -> None:
    write_toy_bundle(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: tensorrt failed: RuntimeMissingError: "):
        main(tmp_path, way=["onnxruntime", "tensorrt"], edits=[1], rounds=1, records=tmp_path / "records")
    assert len([*(tmp_path / "records").glob("rows-toy-*.json")]) == 1
