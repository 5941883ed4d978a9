"""Workers in processes of their own, on a bundle whose networks are a few operators."""

from pathlib import Path

import pytest

from benchmarks.edit import WAYS, Worker, measure, table
from benchmarks.edit_worker import FAST
from engine.runtimes import RUNTIMES
from tests.engine.conftest import write_toy_bundle


@pytest.fixture
def toy_bundle(tmp_path: Path) -> Path:
    write_toy_bundle(tmp_path)
    return tmp_path


def test_times_every_way_in_its_own_process(toy_bundle: Path) -> None:
    ways = ("onnxruntime", "openvino")
    results = measure(ways, "toy", toy_bundle, steps=3, guidance_scale=3.0, rounds=2)
    assert [*results] == [*ways]
    for found in results.values():
        assert len(found["samples_ms"]) == 2 and found["median_ms"] > 0
        assert 0 < found["outside_networks"] < 1 and found["first_picture_s"] > found["median_ms"] / 1e3
        assert 2**24 < found["resident_bytes"] < 2**30 and found["largest_pixel_difference"] <= 1
    assert results["onnxruntime"]["speed_up"] == 1
    assert table(results).row_count == 2


def test_a_worker_that_dies_is_an_error(toy_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^onnx ended with exit code 1; its message is above$"):
        Worker("onnx", "toy", toy_bundle, 3, 3.0, tmp_path)


def test_the_default_ways_exist() -> None:
    assert {way.removesuffix(FAST) for way in WAYS} - {"diffusers"} <= RUNTIMES.keys()
