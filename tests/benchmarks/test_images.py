"""Datasets laid out as their authors do; a tiny random CLIP and DINOv2; the paper's formulas."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.images.datasets import DatasetError, read_dataset
from benchmarks.images.edits import picture_path
from benchmarks.images.metrics import Judge
from benchmarks.images.run import Run, run
from benchmarks.report.build import compose
from benchmarks.report.records import read_record
from engine.errors import RuntimeMissingError

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def paint(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), colour).save(path)


@pytest.fixture
def tedbench(tmp_path):
    folder = tmp_path / "tedbench"
    for name in ("dog.png", "cup.jpeg"):
        paint(folder / "originals" / name)
    wishes = [("dog.png", "A sitting dog."), ("cup.jpeg", "A broken cup."), ("dog.png", "A jumping dog.")]
    (folder / "input_list.json").write_text(
        json.dumps([{"img_name": name, "target_text": text} for name, text in wishes])
    )
    return folder


@pytest.fixture
def judge(sd1_folder, tmp_path):
    torch.manual_seed(0)
    clip, dino = tmp_path / "clip", tmp_path / "dino"
    tokenizer = CLIPTokenizer.from_pretrained(sd1_folder / "tokenizer")
    text = SMALL | {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = SMALL | {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(clip)
    tokenizer.save_pretrained(clip)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(clip)
    Dinov2Model(Dinov2Config(**SMALL, image_size=28, patch_size=14, mlp_ratio=2)).save_pretrained(dino)
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(dino)
    return Judge(str(clip), str(dino))


def test_tedbench_groups_wishes_by_picture_and_needs_source_prompts(tedbench):
    with pytest.raises(DatasetError, match=r"dog\.png has no source prompt; write source_prompts\.json beside"):
        read_dataset("tedbench", tedbench)
    (tedbench / "source_prompts.json").write_text('{"dog.png": "a dog"}')
    dog, cup = read_dataset("tedbench", tedbench, source_prompt="a photo")
    assert (dog.source_prompt, dog.target_prompts) == ("a dog", ("A sitting dog.", "A jumping dog."))
    assert (cup.source_prompt, cup.image.name, cup.name) == ("a photo", "cup.jpeg", "cup-jpeg")
    (tedbench / "originals" / "cup.jpeg").unlink()
    with pytest.raises(DatasetError, match=r"cup\.jpeg is missing; name the folder that the dataset's authors"):
        read_dataset("tedbench", tedbench, "a photo")


@pytest.mark.parametrize("header", ["Object Addition", "Edit Class"])
def test_editeval_numbers_pictures_within_a_class(tmp_path, header):
    openpyxl = pytest.importorskip("openpyxl", reason="the extra bench-images is not installed")
    for place in ("object_addition/1.jpg", "object_addition/2.jpeg", "object_removel/1.jpg"):
        paint(tmp_path / place)
    book = openpyxl.Workbook()
    book.active.append([header, "Source Prompt", "Target Prompt"])
    first = None if header == "Object Addition" else "Object Addition"
    for row in (
        [first, "a table", "a cup on a table"],
        [None, "a cat", "a cat in a hat"],
        ["Object Removal", "a man", "a street"],
    ):
        book.active.append(row)
    book.save(tmp_path / "editing_prompts_collection.xlsx")
    subjects = read_dataset("editeval", tmp_path)
    assert [subject.name for subject in subjects] == ["object_addition-1", "object_addition-2", "object_removel-1"]
    assert [subject.group for subject in subjects] == ["object addition"] * 2 + ["object removal"]
    assert subjects[1].source_prompt == "a cat" and subjects[1].target_prompts == ("a cat in a hat",)


def test_dreambench_pairs_pictures_with_captions(tmp_path):
    paint(tmp_path / "images" / "live_subject" / "animal" / "00.jpg")
    caption = tmp_path / "captions" / "live_subject" / "animal" / "00.txt"
    caption.parent.mkdir(parents=True)
    caption.write_text("corgi\na corgi on a beach\n\na corgi in oil\n")
    (subject,) = read_dataset("dreambench", tmp_path)
    assert (subject.name, subject.group) == ("live-subject-animal-00", "live_subject/animal")
    assert subject.source_prompt == "a corgi" and subject.target_prompts == ("a corgi on a beach", "a corgi in oil")
    with pytest.raises(DatasetError, match=r"holds nothing of dreambench; name the folder that its authors publish$"):
        read_dataset("dreambench", tmp_path / "captions")


def test_scores_are_cosines_of_the_embeddings(judge):
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    network, processor, tokenizer = judge._loaded_clip
    with torch.no_grad():
        pixels = processor([red], return_tensors="pt").pixel_values
        image = network.visual_projection(network.vision_model(pixels).pooler_output)[0].numpy()
        tokens = tokenizer(["a dog"], return_tensors="pt")
        words = network.text_projection(network.text_model(**tokens).pooler_output)[0].numpy()
    cosine = image @ words / np.linalg.norm(image) / np.linalg.norm(words)
    assert judge.score("clip_t", red, blue, "a dog") == pytest.approx(cosine, abs=1e-5)
    for metric in ("clip_i", "dinov2"):
        assert judge.score(metric, red, red, "") == pytest.approx(1, abs=1e-5)
        assert judge.score(metric, red, blue, "") < 1


def test_lpips_is_given_what_its_authors_ask_for(judge, monkeypatch):
    seen = []

    class Double(torch.nn.Module):
        def forward(self, one, other):
            seen.append((one.shape, float(one.min()), float(other.max())))
            return (one - other).abs().mean()

    made = []
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=lambda **options: made.append(options) or Double()))
    black, white = Image.new("RGB", (50, 30), "black"), Image.new("L", (9, 9), "white")
    assert judge.score("lpips", black, white, "") == 2
    assert made == [{"net": "alex", "verbose": False}] and seen == [((1, 3, 256, 256), -1, 1)]


def test_a_dataset_is_edited_once_and_judged(tedbench, judge, menagerie_like, tmp_path, monkeypatch):
    from hiper.fit import FitConfig
    from hiper.pipeline import HiPer

    fits, fit, edit = [], HiPer.fit, HiPer.edit
    short = FitConfig(steps=1)
    monkeypatch.setattr(HiPer, "fit", lambda self, *given: fits.append(given) or fit(self, *given, config=short))
    monkeypatch.setattr(HiPer, "edit", lambda self, *given, **more: edit(self, *given, num_inference_steps=1, **more))
    metrics = ("clip_t", "clip_i", "dinov2")
    asked = Run("tedbench", tedbench, tmp_path / "out", str(menagerie_like), 2, metrics, source_prompt="a photo")
    lines = []
    record = read_record(run(asked, judge, lines.append))
    assert lines == ["edited dog-png (1 of 2)", "edited cup-jpeg (2 of 2)"] and len(fits) == 2
    found = record.results["clip_t"]
    assert len(found["by_subject"]) == 2 and found["low"] <= found["value"] <= found["high"]
    assert record.settings["clip"] == judge.clip and record.model_digest
    again = read_record(run(replace(asked, model=""), judge))
    assert len(fits) == 2 and again.results == record.results and again.model_digest is None
    section = compose([record])[2][0]
    assert section.blocks[0].rows[0][0] == "CLIP-T" and section.title.startswith("tedbench: 2 subjects")


def test_missing_pictures_and_unknown_metrics_are_said(tedbench, judge, tmp_path):
    asked = Run("tedbench", tedbench, tmp_path / "out", "", metrics=("clip_t",), source_prompt="a photo")
    with pytest.raises(DatasetError, match=r"dog-png/0-0\.png is missing; name a --model that makes it$"):
        run(asked, judge)
    subject = read_dataset("tedbench", tedbench, "a photo")[0]
    assert picture_path(tmp_path, subject, 1, 2) == tmp_path / "dog-png" / "1-2.png"
    command = ["fidelity", str(tedbench), "--dataset", "tedbench", "-o", str(tmp_path)]
    refused = CliRunner().invoke(app, [*command, "--metric", "beauty"])
    assert refused.exit_code == 2 and "there is no metric 'beauty'" in refused.output
    missing = CliRunner().invoke(app, [*command, "--source-prompt", "a photo"])
    assert missing.exit_code == 19


def test_a_missing_package_is_named_with_the_extra_that_brings_it(judge, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    picture = Image.new("RGB", (32, 32))
    with pytest.raises(
        RuntimeMissingError, match=r"this benchmark needs it; run: pip install 'hiper\[bench-images\]'$"
    ):
        judge.score("lpips", picture, picture, "")
