"""hiper-doctor tells what is here, and how to get what is not."""

import importlib.metadata
import json
import sys

import pytest
import torch
from typer.testing import CliRunner

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


def test_without_pytorch_it_still_answers(monkeypatch):
    monkeypatch.setitem(sys.modules, "hiper.execution", None)
    assert "run: pip install 'hiper[fit]'" in installation.execution(64)["problem"]


def test_every_extra_but_dev_has_a_purpose():
    extras = set(importlib.metadata.metadata("hiper").get_all("Provides-Extra"))
    assert extras - {"dev"} <= installation.PURPOSES.keys()
