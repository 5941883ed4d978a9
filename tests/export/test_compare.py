"""Polygraphy's verdict on the exported files, through its Python API and on its command line."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.bundle_files import read_manifest
from engine.errors import BundleError
from export.compare import compare
from hiper.models import StableDiffusion


def test_polygraphy_agrees(exported: Path, model: StableDiffusion) -> None:
    compared = compare(model, exported, read_manifest(exported), 64, 64)
    assert compared == [f"{name} in onnxruntime" for name in ("text_encoder", "unet", "decoder", "encoder")]


def test_polygraphy_catches_another_scale(exported: Path, model: StableDiffusion) -> None:
    config = {**model.vae.config, "scaling_factor": 0.5}
    vae = type(model.vae).from_config(config)
    vae.load_state_dict(model.vae.state_dict())
    with pytest.raises(
        BundleError, match=r"^Polygraphy finds that the decoder differs from PyTorch in one of onnxruntime"
    ):
        compare(replace(model, vae=vae), exported, read_manifest(exported), 64, 64)


def test_polygraphys_commands_take_the_file(exported: Path) -> None:
    polygraphy = Path(sys.executable).with_name("polygraphy")
    for command in (["inspect", "model"], ["run", "--onnxrt"]):
        done = subprocess.run([polygraphy, *command, exported / "text_encoder.onnx"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
