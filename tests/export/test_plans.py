"""Plans in a bundle, on doubles of TensorRT and CUDA that run the ONNX file: what is built, named, refused and run."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.bundle import open_bundle
from engine.bundle_files import read_manifest
from engine.errors import BundleError, RuntimeMissingError
from export.config import PlanConfig
from export.plans import add_plans
from export.verify_edit import check_edit
from hiper.models import StableDiffusion
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]

PLANS = PlanConfig(rows=(1, 2))


def ignore(what: str, done: float) -> None: ...


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture
def planned(gpu: SimpleNamespace, bundle: Path, model: StableDiffusion) -> Path:
    add_plans(model, bundle, PLANS, ignore)
    return bundle


def test_names_every_plan(planned: Path, gpu: SimpleNamespace) -> None:
    manifest = read_manifest(planned)
    assert [plan.network for plan in manifest.plans] == ["text_encoder", "unet", "decoder", "encoder"]
    unet = manifest.plans[1]
    assert (unet.gpu, unet.compute_capability, unet.driver, unet.tensorrt) == (
        "Double",
        "9.0",
        "13.0",
        gpu.trt.__version__,
    )
    assert [profile["sample"] for profile in unet.profiles] == [
        (1, 4, 8, 8),
        (2, 4, 8, 8),
        (1, 4, 10, 8),
        (2, 4, 10, 8),
    ]
    assert unet.onnx_sha256 == manifest.networks["unet"].files[0].sha256
    assert 0 < unet.relative_error < 1e-4


def test_an_edit_runs_on_plans_alone(planned: Path, model: StableDiffusion) -> None:
    bundle = open_bundle(planned, "tensorrt")
    assert check_edit(model, bundle, "fp32") > 50


def test_auto_counts_tensorrt_in(planned: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "tensorrt " in open_bundle(planned).reason


def test_builds_only_what_is_missing(planned: Path, model: StableDiffusion) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in planned.iterdir()}
    add_plans(model, planned, PLANS, ignore)
    assert {path.name: path.stat().st_mtime_ns for path in planned.iterdir()} == before


def test_builds_again_what_shall_be_otherwise(planned: Path, model: StableDiffusion) -> None:
    manifest = add_plans(model, planned, replace(PLANS, optimization_level=5), ignore)
    assert [plan.optimization_level for plan in manifest.plans] == [5, 5, 5, 5]
    open_bundle(planned, "tensorrt").unet  # noqa: B018


def test_refuses_a_plan_for_another_gpu(planned: Path, gpu: SimpleNamespace) -> None:
    gpu.cuda.compute_capability = (12, 0)
    with pytest.raises(BundleError) as caught:
        open_bundle(planned, "tensorrt").unet  # noqa: B018
    version = gpu.trt.__version__
    assert str(caught.value).startswith(
        f"{planned} has plans of the unet for compute capability 9.0, TensorRT {version}, this is compute capability "
        f"12.0 with TensorRT {version}; mend it with: hiper-export "
    )
    assert str(caught.value).endswith(f" -o {planned} --tensorrt")


def test_a_plan_that_was_lost_is_built_again(planned: Path, model: StableDiffusion) -> None:
    plan = read_manifest(planned).plans[1]
    (planned / plan.file.name).unlink()
    open_bundle(planned, "onnxruntime").unet  # noqa: B018
    with pytest.raises(BundleError, match=r"\.plan is missing; mend it with: hiper-export .* --tensorrt$"):
        open_bundle(planned, "tensorrt").unet  # noqa: B018
    assert add_plans(model, planned, PLANS, ignore).plans[-1].network == "unet"
    open_bundle(planned, "tensorrt").unet  # noqa: B018


def test_refuses_a_bundle_without_plans(gpu: SimpleNamespace, bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"has plans of the unet for no GPU, this is .*--tensorrt$"):
        open_bundle(bundle, "tensorrt").unet  # noqa: B018


def test_a_plan_that_differs_from_pytorch_is_not_kept(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.verify.relative_error", lambda found, expected: np.nan)
    with pytest.raises(BundleError, match=r"^the text_encoder in fp32 differs from PyTorch by nan"):
        add_plans(model, bundle, PLANS, ignore)
    assert not list(bundle.glob("*.plan")) and not read_manifest(bundle).plans


def test_an_interrupted_build_keeps_the_bundle_whole(planned: Path, model: StableDiffusion) -> None:
    def stop(what: str, done: float) -> None:
        if what.startswith("building the unet") and done > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_plans(model, planned, replace(PLANS, optimization_level=5), stop)
    assert [plan.network for plan in read_manifest(planned).plans] == ["decoder", "encoder", "text_encoder"]
    open_bundle(planned, "onnxruntime").unet  # noqa: B018


def test_refuses_another_model(gpu: SimpleNamespace, bundle: Path, model: StableDiffusion) -> None:
    with pytest.raises(BundleError, match=r"is a bundle of tiny-sd1 with clip_skip 0, not of this tiny-sd1 with 1; "):
        add_plans(replace(model, clip_skip=1), bundle, PLANS, ignore)


def test_says_what_is_missing_before_anything_else(bundle: Path, model: StableDiffusion) -> None:
    with pytest.raises(RuntimeMissingError, match=r"^TensorRT is not here .*; pip install tensorrt cuda-bindings$"):
        add_plans(model, bundle, PLANS, ignore)
