"""Workers in processes of their own, on a bundle whose networks are a few operators."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import edit
from benchmarks.edit import WAYS, measure, table, thumbnail
from benchmarks.ways import Job, check_way, is_exact
from benchmarks.worker import Worker
from tests.engine.conftest import write_toy_bundle


@pytest.fixture
def job(tmp_path: Path) -> Job:
    write_toy_bundle(tmp_path)
    return Job("toy", str(tmp_path), steps=3, guidance_scale=3.0)


def test_times_every_way_in_its_own_process(job: Job) -> None:
    ways, errors = ("onnxruntime", "openvino"), {}
    results = measure(ways, job, 2, errors)
    assert [*results] == [*ways] and not errors
    for way, found in results.items():
        assert len(found["samples_ms"]) == 2 and found["median_ms"] > 0
        assert 0 < found["outside_networks"] < 1 and found["first_picture_s"] > found["median_ms"] / 1e3
        assert 2**24 < found["resident_bytes"] < 2**30 and found["largest_pixel_difference"] <= 1
        path = {"runtime": way, "precision": "exact", "cuda_graph": False, "rows_on_gpu": False}
        assert found["path"] == path and found["device_bytes"] is None
        stages = found["stages"]
        assert [len(steps) for steps in stages["unet_ms"]] == [3, 3]
        for index, total in enumerate(found["samples_ms"]):
            parts = sum(stages["unet_ms"][index]) + sum(
                stages[f"{name}_ms"][index] for name in ("text", "decode", "other")
            )
            assert 0 < parts <= total
    assert results["onnxruntime"]["speed_up"] == 1
    assert table(results).row_count == 2


def test_a_way_that_dies_is_an_error_and_no_blank(job: Job) -> None:
    errors: dict[str, str] = {}
    assert [*measure(("onnxruntime", "tensorrt"), job, 1, errors)] == ["onnxruntime"]
    assert errors["tensorrt"].startswith("RuntimeError: tensorrt ended with exit code 1: engine.errors.RuntimeMissing")
    with pytest.raises(RuntimeError, match=r"^nothing can be compared, since tensorrt failed: RuntimeError: tensor"):
        measure(("tensorrt", "onnxruntime"), job, 1, {})


def test_a_way_that_does_less_is_an_error(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: dict[str, str] = {}
    monkeypatch.setattr(edit, "psnr_db", lambda picture, reference: 100.0 if picture is reference else 34.9)
    assert [*measure(("onnxruntime", "openvino", "openvino-fast"), job, 1, errors)] == ["onnxruntime", "openvino-fast"]
    assert errors["openvino"] == (
        "RuntimeError: its picture is 34.9 dB from that of onnxruntime but must be at least 35; "
        "it does not do the same work"
    )


def test_a_worker_that_dies_says_why(job: Job, tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"^onnx ended with exit code 1: ValueError: there is no way 'onnx'; use one"
    ):
        Worker("onnx", job, tmp_path)
    with pytest.raises(RuntimeError, match=r"^openvino ended with exit code 1: .*manifest"):
        Worker("openvino", replace(job, bundle=str(tmp_path / "nothing")), tmp_path)


def test_ways_have_names_that_say_what_they_compute_in() -> None:
    for way in (
        *WAYS,
        "diffusers-bf16-compiled",
        "reference-fp16",
        "openvino-genai",
        "openvino-genai-fast",
        "tensorrt",
    ):
        check_way(way)
    assert [is_exact(way) for way in ("openvino", "openvino-fast", "diffusers-bf16", "diffusers-compiled")] == [
        True,
        False,
        False,
        True,
    ]
    for way in ("diffusers-int8", "onnx", "openvino-bf16"):
        with pytest.raises(
            ValueError, match=rf"^there is no way '{way}'; use one of diffusers, reference, openvino-genai"
        ):
            check_way(way)


def test_a_thumbnail_is_the_picture_but_small() -> None:
    picture = np.full((512, 256, 3), (200, 30, 30), np.uint8)
    small = Image.open(io.BytesIO(base64.b64decode(thumbnail(picture))))
    assert small.size == (128, 256) and np.abs(np.asarray(small.convert("RGB")).astype(int) - (200, 30, 30)).max() < 8
