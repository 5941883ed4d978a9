"""Polygraphy's verdict on the exported files, through its Python API and on its command line."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engine.bundle_files import read_manifest
from engine.errors import BundleError
from engine.runtimes import cuda
from export.compare import TorchRunner, compare
from export.config import PlanConfig
from export.modules import MODULES
from export.plans import add_plans
from export.profiles import SIGNATURES
from hiper.models import StableDiffusion
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]


def test_polygraphy_agrees(exported: Path, model: StableDiffusion) -> None:
    compared = compare(model, exported, read_manifest(exported))
    assert compared == [f"{name} in onnxruntime" for name in ("text_encoder", "unet", "decoder", "encoder")]


def test_polygraphy_catches_another_scale(exported: Path, model: StableDiffusion) -> None:
    config = {**model.vae.config, "scaling_factor": 0.5}
    vae = type(model.vae).from_config(config)
    vae.load_state_dict(model.vae.state_dict())
    with pytest.raises(
        BundleError, match=r"^Polygraphy finds that the decoder differs from PyTorch in one of onnxruntime"
    ):
        compare(replace(model, vae=vae), exported, read_manifest(exported))


def test_plans_are_compared_at_their_first_profile_on_their_gpu(
    gpu: SimpleNamespace, exported: Path, model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(exported, tmp_path / "bundle"))
    gpu.cuda.gpus = 2
    plans = PlanConfig(rows=(4, 8), device=1)
    manifest = add_plans(model, bundle, plans, lambda what, done: None)
    ran, gpus = {}, []

    def watched(call: Callable[..., Any], name: str, *arguments: Any) -> Any:
        if name == "cudaSetDevice":
            gpus.extend(arguments)
        return call(name, *arguments)

    class TrtRunner(TorchRunner):
        """The network that a plan was made of, in PyTorch."""

        def __init__(self, path: str) -> None:
            name = Path(path).name.split(".")[0]
            super().__init__(MODULES[name](model).eval(), SIGNATURES[name], f"plan-{name}")

        def infer_impl(self, feed_dict: Any) -> Any:
            ran[self.name] = len(next(iter(feed_dict.values())))
            return super().infer_impl(feed_dict)

    trt = ModuleType("polygraphy.backend.trt")
    vars(trt).update(EngineFromPath=str, TrtRunner=TrtRunner)
    monkeypatch.setitem(sys.modules, trt.__name__, trt)
    monkeypatch.setattr("export.compare.cuda.call", partial(watched, cuda.call))
    assert "unet in tensorrt" in compare(model, bundle, manifest, plans)
    assert (ran["torch-plan-unet"], ran["torch-plan-decoder"], {*gpus}) == (4, 1, {1})
    ran.clear()
    assert "unet in tensorrt" not in compare(model, bundle, manifest) and not ran


def test_polygraphys_commands_take_the_file(exported: Path) -> None:
    polygraphy = Path(sys.executable).with_name("polygraphy")
    for command in (["inspect", "model"], ["run", "--onnxrt"]):
        done = subprocess.run([polygraphy, *command, exported / "text_encoder.onnx"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
