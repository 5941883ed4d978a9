"""The tiny architecture through every default way."""

from pathlib import Path

from benchmarks.unet import WAYS, measure, table


def test_times_and_compares_every_way(tmp_path: Path) -> None:
    results = measure("tiny", WAYS, rounds=2, folder=tmp_path)
    assert [*results] == [*WAYS]
    for found in results.values():
        assert found["speed_up"] > 0 and len(found["samples_ms"]) == len(found["reference"]["samples_ms"]) == 2
    assert results["onnxruntime"]["relative_error"] < 1e-4 and results["openvino"]["relative_error"] < 1e-4
    assert results["openvino-fast"]["relative_error"] < 0.1
    assert table(results).row_count == len(WAYS)
