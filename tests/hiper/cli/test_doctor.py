"""hiper-doctor tells what is here, and how to get what is not."""

import importlib.metadata
import json
import sys

import pytest
import torch
from typer.testing import CliRunner

from engine.row_kernels import native_status
from engine.runtimes import RUNTIMES
from engine.runtimes.gpu import Gpu
from export.doctor import TensorRTReport
from hiper.cli import doctor, installation
from hiper.execution import Execution, resolve


@pytest.fixture
def facts():
    return json.loads(CliRunner().invoke(doctor.app, ["--json"]).stdout)


def capability(facts, name):
    return next(one for one in facts["capabilities"] if one["name"] == name)


def test_it_names_what_is_installed(facts):
    installed = capability(facts, "fit")["installed"]
    assert installed["torch"] == torch.__version__
    assert installed.keys() == {"torch", "diffusers", "transformers", "accelerate"}
    assert {"numpy", "torch"} & capability(facts, "export")["installed"].keys() == {"torch"}, "export contains fit"


def test_it_says_how_a_model_will_run(facts):
    for model, latent_size in doctor.MODELS.items():
        resolved = resolve(Execution("auto", "auto", "auto"), latent_size)
        wanted = {"device": resolved.device, "dtype": resolved.dtype, "attention": resolved.attention}
        assert facts["runs"][model] == wanted


def test_what_is_missing_comes_with_its_command(monkeypatch):
    def version(package, known=importlib.metadata.version):
        if package in ("torch", "xformers"):
            raise importlib.metadata.PackageNotFoundError
        return known(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(doctor.app)
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "✗ fit" in words and "missing: torch; pip install 'hiper[fit]'" in words
    assert "missing: xformers; pip install 'hiper[xformers]'" in words
    assert "missing: engine._native; install a C++ compiler and CMake" in words


def test_people_read_each_package_once_in_a_column():
    lines = CliRunner().invoke(doctor.app).stdout.splitlines()
    assert sum("torch " + torch.__version__ in line for line in lines) == 1
    assert (
        len(
            {
                line.index(installation.PURPOSES[line.split()[1]])
                for line in lines
                if line[:1] in ("✓", "✗") and line.split()[1] in installation.PURPOSES
            }
        )
        == 1
    )


def test_it_names_what_runs_bundles(facts):
    assert facts["runtimes"].keys() == RUNTIMES.keys()
    assert facts["runtimes"]["onnxruntime"] == f"onnxruntime {importlib.metadata.version('onnxruntime')}"
    assert facts["rows"] == native_status()
    result = CliRunner().invoke(doctor.app)
    assert f"bundles by onnxruntime: {facts['runtimes']['onnxruntime']}\n" in result.stdout
    assert f"bundles' rows: {native_status()}\n" in result.stdout


def test_onnxruntime_may_be_that_for_gpus(monkeypatch):
    def version(package):
        if package == "onnxruntime-gpu":
            return "1.99"
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert installation.runtimes() == {
        "onnxruntime": "onnxruntime 1.99",
        "onnxruntime-cuda": "pip install onnxruntime-gpu cuda-bindings",
        "onnxruntime-tensorrt": "pip install onnxruntime-gpu tensorrt cuda-bindings",
        "openvino": "pip install openvino",
        "tensorrt": "pip install tensorrt cuda-bindings",
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_what_the_check_of_a_gpu_found(monkeypatch, as_json):
    gpu = Gpu("Double", "9.0", "13.0", "11.4.0.106")
    found = TensorRTReport(gpu, 31.4, 2e-6, 87.5, {1: 1.25, 2: 1.5}, 80.2)
    monkeypatch.setattr("export.doctor.check_tensorrt", lambda report: found)
    result = CliRunner().invoke(doctor.app, ["--tensorrt", *["--json"] * as_json])
    assert result.exit_code == 0, result.stderr
    if as_json:
        assert json.loads(result.stdout)["unet_ms"] == {"1": 1.25, "2": 1.5}
    else:
        assert result.stdout.splitlines() == [
            "Double, compute capability 9.0, CUDA 13.0",
            "TensorRT 11.4.0.106, Menagerie's plans built in 31 s",
            "at most 2.0e-06 from PyTorch, a whole edit 87.5 dB",
            "one call of the UNet: 1 rows 1.25 ms, 2 rows 1.50 ms",
            "one guided edit: 80 ms",
        ]


def test_no_tensorrt_is_said_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = CliRunner().invoke(doctor.app, ["--tensorrt"])
    assert result.exit_code == 9 and result.stdout == ""
    assert result.stderr.startswith("error: TensorRT is not here")
    assert result.stderr.endswith("pip install tensorrt cuda-bindings\n")


def test_without_pytorch_it_still_answers(monkeypatch):
    monkeypatch.setitem(sys.modules, "hiper.execution", None)
    assert "run: pip install 'hiper[fit]'" in installation.execution(64)["problem"]


def test_every_extra_but_dev_has_a_purpose():
    extras = set(importlib.metadata.metadata("hiper").get_all("Provides-Extra"))
    assert extras - {"dev"} <= installation.PURPOSES.keys()
