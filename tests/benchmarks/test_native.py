"""Oracles: NumPy's kernels for both sides, programs of the test's own for what a build prints."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import native
from engine import row_kernels

BUILT = pytest.mark.skipif("NumPy does" in row_kernels.native_status(), reason="the native part was not built")


@BUILT
@pytest.mark.parametrize("edits", [1, 3])
def test_kernel_and_pytorch_do_what_numpy_does(edits):
    native.compare(edits, "cpu")


def test_a_step_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(native.OnDevice, "native", lambda self: None)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        native.compare(1, "cpu")


def test_pytorch_steps_on_from_where_it_was():
    batch = native.OnDevice(2, "cpu")
    arrays, out_sample, steps = native.make_batch(2)
    for _ in range(3):
        batch.in_torch()
        row_kernels.advance_numpy(arrays, out_sample, steps)
    np.testing.assert_allclose(batch.latents, torch.tensor(arrays.latents), rtol=1e-4, atol=1e-5)


def test_checks_keep_what_was_said_and_what_failed(tmp_path, monkeypatch):
    def python(code):
        return [sys.executable, "-c", code]

    made = {
        "good": python("print('1'); print('all well')"),
        "bad": python("print('a race'); exit(9)"),
        "gone": ["no-such"],
    }
    monkeypatch.setattr(native, "commands", lambda folder, cuda: made.items())
    errors = {}
    assert native.check(tmp_path, True, errors) == {"good": "all well", "bad": "a race"}
    assert errors == {"bad": "exit code 9: a race", "gone": "no-such is not installed or was not built"}


def test_a_gpu_gets_every_sanitizer(tmp_path):
    on_gpu = dict(native.commands(tmp_path, cuda=True))
    assert [*on_gpu] == ["configure", "build", "core", "kernels", "memcheck", "racecheck", "initcheck", "synccheck"]
    assert "-DHIPER_CUDA=ON" in on_gpu["configure"] and on_gpu["memcheck"][-1] == str(tmp_path / "cuda_rows_test")
    assert "-DHIPER_CUDA=OFF" in dict(native.commands(tmp_path, cuda=False))["configure"]


@BUILT
def test_the_record_has_both_sides(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "commands", lambda folder, cuda: [])
    monkeypatch.setattr(native, "CALLS", 2)
    native.main("cpu", tmp_path, 2, tmp_path / "records")
    (path,) = (tmp_path / "records").iterdir()
    results = json.loads(path.read_text())["results"]
    assert [*results] == [f"{side} {edits}" for edits in native.EDITS for side in ("native", "torch")]
