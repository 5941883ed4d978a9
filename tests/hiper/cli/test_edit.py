"""hiper-edit as a user calls it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from hiper.cli import edit
from hiper.cli.edit import parse_seeds
from hiper.sample import sample
from hiper.snapshot_file import SnapshotError
from hiper.tail import load
from hiper.tail_choice import choose_tail


@pytest.fixture
def where(sd1_folder, tmp_path):
    return ("--model", sd1_folder, "-o", tmp_path / "out")


def test_prompts_and_seeds_become_pictures(hiper_edit, fitted, where):
    called = hiper_edit(fitted, "a cat", "a dog", *where, "--seeds", "0,3", "--negative", "fog", "--strength", 0.5)
    assert called.exit_code == 0, called.stderr
    assert [path.name for path in called.paths] == [
        f"rex-a-{what}-{seed}.png" for what in ("cat", "dog") for seed in (0, 3)
    ]
    with Image.open(called.paths[3]) as picture:
        assert picture.size == (64, 64)
        found = {name: picture.text[name] for name in ("prompt", "seed", "negative_prompt", "tail_strength")}
    assert found == {"prompt": "a dog", "seed": "3", "negative_prompt": "fog", "tail_strength": "0.5"}
    assert called.stderr.count("\n") == 2 and "2 steps a picture" in called.stderr


def test_text_in_pictures_can_be_left_out(hiper_edit, fitted, where):
    [path] = hiper_edit(fitted, "a cat", *where, "--no-text").paths
    with Image.open(path) as picture:
        assert not picture.text


def test_no_picture_is_ever_replaced(hiper_edit, fitted, where):
    first = hiper_edit(fitted, "a cat", "A CAT", *where).paths
    second = hiper_edit(fitted, "a cat", *where).paths
    assert [path.name for path in first + second] == ["rex-a-cat-0.png", "rex-a-cat-0-2.png", "rex-a-cat-0-3.png"]


def test_drawings(hiper_edit, fitted, where):
    called = hiper_edit(fitted, "a cat", *where, "--sheet", "--strip", "--attention-maps", "--seeds", "0-1", "--json")
    facts = json.loads(called.stdout)
    assert [edit["seed"] for edit in facts["edits"]] == [0, 1]
    drawings = [path.rsplit("/", 1)[1] for path in facts["drawings"]]
    assert drawings == ["rex-sheet.png", "rex-strip.png", "rex-a-cat-attention.png"]
    assert facts["settings"]["num_inference_steps"] == 2 and facts["settings"]["tail_strength"] == 0.8
    assert all(np.asarray(Image.open(path)).std() > 10 for path in facts["drawings"])


def test_another_snapshot_can_be_chosen(hiper_edit, fitted, where):
    called = hiper_edit(fitted, "a cat", *where, "--snapshot", 2, "--json")
    assert json.loads(called.stdout)["tail_sha256"] != load(fitted).digest
    missing = hiper_edit(fitted, "a cat", *where, "--snapshot", 3)
    assert missing.exit_code == 10 and "there is no snapshot of step 3; choose one of 2, 4" in missing.stderr


def test_another_model_must_be_named(hiper_edit, fitted, tmp_path):
    called = hiper_edit(fitted, "a cat", "-o", tmp_path / "out")
    assert called.exit_code == 6
    assert "tail was fitted with tiny-sd1, which has to be named; add --model and its place" in called.stderr
    assert not (tmp_path / "out").exists()


def test_another_checkpoint_of_the_family_is_a_warning(hiper_edit, fitted, where, monkeypatch):
    monkeypatch.setattr("hiper.models.weights_digest", lambda folder: "0" * 64)
    called = hiper_edit(fitted, "a cat", *where)
    assert called.exit_code == 0 and called.stderr.startswith("tiny-sd1 on cpu")
    assert "warning: tail was fitted with tiny-sd1 but tiny-sd1 has other weights" in called.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bundle", "b", "--attention-maps"), "--attention-maps needs PyTorch, which --bundle does without; leave"),
        (("--bundle", "b", "--model", "menagerie"), "--model needs PyTorch, which --bundle does without; leave"),
        (("--bundle", "b", "--dtype", "auto"), "--dtype needs PyTorch, which --bundle does without; leave"),
        (("--runtime", "auto"), "--runtime is for bundles; name one with --bundle"),
        (("--solver", "euler"), "--solver euler is for bundles; name one with --bundle, or use ddim or dpmpp_2m"),
    ],
)
def test_options_of_the_other_way_are_refused(options, words):
    result = CliRunner().invoke(edit.app, ["rex.hiper.safetensors", "a dog", *options])
    assert result.exit_code == 2 and words in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", 1000), "num_inference_steps is 1000, too many for ddim; use fewer"),
        (("--steps", 1000, "--solver", "dpmpp_2m"), "num_inference_steps is 1000, too many for dpmpp_2m; use fewer"),
    ],
)
def test_what_the_model_cannot_do_is_a_usage_error(hiper_edit, fitted, where, tmp_path, options, words):
    called = hiper_edit(fitted, "a cat", *where, *options)
    assert called.exit_code == 2 and words in " ".join(called.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("0,2,5", [0, 2, 5]), ("3-5", [3, 4, 5]), (" 7 , 1-2", [7, 1, 2])]
)
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


@given(st.text("0123456789-, x", max_size=24))
def test_anything_is_seeds_or_refused(text):
    try:
        seeds = parse_seeds(text)
    except typer.BadParameter as error:
        assert "write 0, or 0,2,5, or 0-3" in str(error)
    else:
        assert 1 <= len(seeds) <= 10_000 and all(0 <= seed < 2**63 for seed in seeds)


def test_snapshots_of_another_fit_are_refused(fitted):
    tail, snapshots = load(fitted), fitted.with_name("rex.snapshots.safetensors")
    assert choose_tail(tail, snapshots, 4).digest == tail.digest
    with pytest.raises(SnapshotError, match="belongs to another fit than the tail; keep the two files of one fit"):
        choose_tail(replace(tail, vectors=tail.vectors + 1), snapshots, 4)


def test_ctrl_c_keeps_the_pictures_of_finished_batches(hiper_edit, fitted, where, tmp_path, monkeypatch):
    batches = []

    def interrupted(*arguments, **options):
        batches.append(arguments)
        if len(batches) > 1:
            raise KeyboardInterrupt
        return sample(*arguments, **options)

    monkeypatch.setattr("hiper.pipeline.sample", interrupted)
    called = hiper_edit(fitted, "a cat", *where, "--seeds", "0-5")
    assert called.exit_code == 130 and f"stopped; 4 of 6 pictures are in {tmp_path / 'out'}" in called.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"rex-a-cat-{seed}.png" for seed in range(4)]
