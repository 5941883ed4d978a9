"""The demo: a real fit and real edits on a tiny model, beside what the renderer knows to be true."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from export import demo
from hiper.menagerie.render import render
from hiper.menagerie.world import Content, held_out
from hiper.tail import load


@pytest.fixture(autouse=True)
def no_memory_of_runtimes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_each_edit_changes_one_thing():
    content = Content("dog", "jumping", "night")
    assert demo.three_edits(content) == [
        Content("dog", "standing", "night"),
        Content("dog", "jumping", "beach"),
        Content("cat", "jumping", "night"),
    ]


def test_a_sheet_and_a_tail(sd1_folder, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "build_bundle", lambda model, folder, *_, **options: shutil.copytree(exported, folder))
    monkeypatch.setattr("hiper.cli.loading.HiPer.from_pretrained", short(sd1_folder))
    result = CliRunner().invoke(demo.app, ["--animal", "3", "--model", str(sd1_folder), "-o", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'demo' / 'sheet.png'}\n"
    assert "fit of" in result.stderr and "s in all; the subject is a tail of 15360 bytes" in result.stderr
    assert all(f"3 pictures of HiPer in {where}: " in result.stderr for where in ("PyTorch", "the engine"))
    assert int(re.search(r"largest difference between the two: (\d+) of 255", result.stderr)[1]) <= 2
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "animal.hiper.safetensors",
        "animal.png",
        "bundle",
        "sheet.png",
    ]
    identity, content, framing = held_out(3)
    assert load(tmp_path / "demo" / "animal.hiper.safetensors").info.source_prompt == demo.terse_caption(content)
    with Image.open(tmp_path / "demo" / "animal.png") as source:
        assert np.array_equal(np.asarray(source), render(identity, content, framing, 64))


def test_a_bundle_is_made_once_for_each_model(exported, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(demo, "load_model", lambda model: model)
    monkeypatch.setattr(demo, "build_bundle", lambda model, *_, **options: made.append(model))
    digest = demo.read_manifest(exported).model_digest
    demo._bundle("mine", digest, exported)
    demo._bundle("another", "0" * 64, exported)
    assert made == ["another"]
    assert not demo._is_of(tmp_path / "none", digest)


def short(folder):
    """The demo's own settings, but two steps of each."""
    hiper = demo.HiPer.from_pretrained(folder, device="cpu", dtype="fp32")
    hiper.recipe = type(hiper.recipe)(steps=2, num_inference_steps=2)
    return lambda *_args, **_options: hiper
