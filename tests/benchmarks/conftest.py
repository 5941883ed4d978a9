"""A studio for the fidelity benchmark whose model and probe are tiny and random, but paint 128 x 128 pixels."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.fidelity.studio import Settings, Studio
from hiper.execution import Execution
from hiper.fit import FitConfig
from hiper.menagerie.probe import Probe, load_probe
from hiper.models import load_model


@pytest.fixture(scope="session")
def menagerie_like(sd1_folder, tmp_path_factory):
    """A model's folder, with a probe beside the model."""
    folder = tmp_path_factory.mktemp("models") / "tiny-menagerie"
    shutil.copytree(sd1_folder, folder)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": 16}))
    torch.manual_seed(0)
    save_file({name: weight.half() for name, weight in Probe().state_dict().items()}, folder / "probe.safetensors")
    return folder


@pytest.fixture(scope="session")
def studio(menagerie_like):
    """Two steps, two seeds."""
    fit = FitConfig(steps=4, timesteps_per_step=2, evaluate_every=1, patience=1, held_out=2, learning_rate=0.1)
    settings = Settings(str(menagerie_like), fit=fit, num_inference_steps=2, seeds=2, imagic_steps=2, batch=5)
    model = load_model(menagerie_like)
    return Studio(settings, model, load_probe(menagerie_like / "probe.safetensors"), Execution())
