"""The pictures of the paper: each place of a sheet shows what its label says."""

import numpy as np
import pytest
from PIL import Image

from hiper.analysis import comparison, strength_strip
from hiper.fit import FitConfig
from hiper.pipeline import HiPer
from hiper.sheet import contact_sheet

QUICK = {"num_inference_steps": 2, "guidance_scale": 3.0, "seed": 4}


@pytest.fixture(scope="module")
def hiper(sd1_folder):
    return HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def source():
    return Image.effect_noise((64, 64), 80).convert("RGB")


@pytest.fixture(scope="module")
def tail(hiper, source):
    return hiper.fit(source, "a standing dog", config=FitConfig(steps=1, learning_rate=1.0))


def assert_sheet(sheet, pictures, **labels):
    wanted = contact_sheet(pictures, **labels)
    assert sheet.size == wanted.size
    assert np.abs(np.asarray(sheet).astype(int) - np.asarray(wanted)).max() <= 2


def test_comparison(hiper, tail, source):
    edits = hiper.edit(tail, ["a cat", "a dog"], **QUICK)
    reconstruction = hiper.edit(tail, "a standing dog", tail_strength=1.0, **QUICK)[0]
    alone = hiper.edit(None, ["a cat", "a dog"], **QUICK)
    rows = [[source, reconstruction, plain, edit] for plain, edit in zip(alone, edits, strict=True)]
    labels = {
        "columns": ["source", "reconstruction", "text alone", "text + tail"],
        "rows": ["a cat", "a dog"],
        "title": '"a standing dog"',
    }
    assert_sheet(comparison(hiper, tail, ["a cat", "a dog"], edits, source, **QUICK), rows, **labels)
    labels["columns"].pop(0)
    assert_sheet(comparison(hiper, tail, ["a cat", "a dog"], edits, **QUICK), [row[1:] for row in rows], **labels)


def test_strength_strip(hiper, tail):
    pictures = [hiper.edit(None, "a cat", **QUICK)[0]]
    pictures += [hiper.edit(tail, "a cat", tail_strength=strength, **QUICK)[0] for strength in (0.5, 1.5)]
    strip = strength_strip(hiper, tail, ["a cat"], (0.5, 1.5), **QUICK | {"tail_strength": 0.1})
    assert_sheet(strip, [pictures], columns=["text alone", "strength 0.5", "strength 1.5"], rows=["a cat"])
