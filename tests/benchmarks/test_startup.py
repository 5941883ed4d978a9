"""Processes that start on a bundle of a few operators."""

from benchmarks.startup import measure, table
from benchmarks.ways import Job
from tests.engine.conftest import write_toy_bundle


def test_every_start_is_a_new_process(tmp_path):
    write_toy_bundle(tmp_path)
    errors = {}
    results = measure(("onnxruntime", "tensorrt"), Job("toy", str(tmp_path), steps=1), 2, errors)
    assert [*results] == ["onnxruntime"] and "RuntimeMissingError" in errors["tensorrt"]
    found = results["onnxruntime"]
    assert len(found["samples_ms"]) == 2 and len(found["warm_up_ms"]) == 1
    assert found["median_ms"] > 50 and found["resident_bytes"] > 2**24 and table(results).row_count == 1
