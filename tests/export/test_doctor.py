"""The check of a GPU, on doubles; and what it says where there is none."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import RuntimeMissingError
from export import doctor
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]


def test_builds_compares_and_times(
    gpu: SimpleNamespace, sd1_folder: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(model: object, folder: Path, *rest: Any, **options: Any) -> None:
        shutil.copytree(exported, folder)

    monkeypatch.setattr(doctor, "build_bundle", copy)
    found = doctor.check_tensorrt(str(sd1_folder))
    assert (found.gpu.name, found.gpu.tensorrt) == ("Double", gpu.trt.__version__)
    assert found.relative_error < 1e-4 and found.edit_psnr_db > 50
    assert list(found.unet_ms) == [1, 2, 8] and all(value > 0 for value in found.unet_ms.values())
    assert found.edit_ms > 0 and found.build_s > 0


def test_says_what_is_missing(sd1_folder: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"^TensorRT is not here .*; pip install tensorrt cuda-bindings$"):
        doctor.check_tensorrt(str(sd1_folder))
