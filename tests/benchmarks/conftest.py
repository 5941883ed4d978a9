"""A studio for the fidelity benchmark whose model and probe are tiny and random, but paint 128 x 128 pixels.

And a maker of records as scripts would write them.
"""

import json
import random
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


EDIT_SETTINGS = {"model": "menagerie", "image_size": 128, "steps": 30, "guidance_scale": 4.0, "rounds": 30}


def edit_results(seed=0, **medians_ms):
    """Results of an edit record with these medians and 1 % of noise; the first way is the reference."""
    noise = random.Random(seed)
    results = {}
    for way, median_ms in medians_ms.items():
        samples = [median_ms * noise.gauss(1, 0.01) for _ in range(30)]
        results[way.replace("_", "-")] = {
            "median_ms": sorted(samples)[15],
            "samples_ms": samples,
            "warm_up_ms": [2 * median_ms],
            "speed_up": 1.0,
            "outside_networks": 0.01,
            "stages": {
                "text_ms": [1.0] * 30,
                "unet_ms": [[median_ms / 40] * 30] * 30,
                "decode_ms": [5.0] * 30,
                "other_ms": [0.5] * 30,
            },
            "first_picture_s": 1.5,
            "resident_bytes": 300 * 2**20,
            "psnr_db": 50.0,
        }
    return results


@pytest.fixture
def make_record(tmp_path):
    """A function that writes a record to a folder and returns its path."""

    def make(name="edit-menagerie", results=None, folder="records", day=1, errors=None, **changes):
        path = tmp_path / folder / f"{name}-202601{day:02}T000000Z.json"
        path.parent.mkdir(exist_ok=True)
        record = {
            "format": "hiper.record/2",
            "name": name,
            "question": "How fast?",
            "time": f"2026-01-{day:02}T00:00:00+00:00",
            "command": ["python"],
            "commit": f"{day:x}" * 40,
            "dirty": False,
            "model_digest": "d" * 64,
            "hardware": {"cpu": "A <fast> one", "cores": 2, "load_average": 0.1, "memory_bytes": 2**34, "gpus": []},
            "versions": {"python": "3.11.7"},
            "settings": EDIT_SETTINGS,
            "results": edit_results(diffusers=500, openvino=220) if results is None else results,
            "errors": errors or {},
        }
        path.write_text(json.dumps(record | changes))
        return path

    return make
