"""hiper-fit as a user calls it."""

import hashlib
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from engine.capped_file import read_capped
from hiper import HiPer
from hiper.fit import FitError, fit_tail
from hiper.snapshot_file import read_snapshots
from hiper.tail import load


@pytest.fixture
def short(sd1_folder, tmp_path):
    return ("--model", sd1_folder, "--preset", "paper", "--steps", 3, "-o", tmp_path / "out")


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_picture_becomes_a_tail_and_edits(hiper_fit, rex, short, sd1_folder, tmp_path):
    called = hiper_fit(rex, "a standing dog", *short, "--edit", "A sitting dog!", "--edit", "a cat", "--sheet")
    assert called.exit_code == 0, called.stderr
    assert [path.name for path in called.paths] == [
        "rex.hiper.safetensors",
        "rex-loss.png",
        "rex-a-sitting-dog-0.png",
        "rex-a-cat-0.png",
        "rex-sheet.png",
    ]
    assert names(tmp_path / "out") == sorted(path.name for path in called.paths)
    assert "tiny-sd1 on cpu in fp32 with sdpa attention" in called.stderr and "3 steps" in called.stderr

    tail = load(called.paths[0])
    assert tail.info.source_prompt == "a standing dog" and tail.info.step == 3
    with Image.open(called.paths[3]) as picture:
        assert picture.text["prompt"] == "a cat" and picture.text["tail_sha256"] == tail.digest
        hiper = HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")
        wanted = hiper.edit(tail, "a cat", seed=int(picture.text["seed"]))[0]
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(wanted)).max() <= 1


def test_one_json_object_tells_everything(hiper_fit, rex, short, tmp_path):
    called = hiper_fit(rex, "a standing dog", *short, "--json", "--subject", "person", "--seed", 5)
    facts = json.loads(called.stdout)
    assert facts["tail"] == str(tmp_path / "out" / "rex.hiper.safetensors")
    assert (facts["steps"], facts["best_step"], facts["edits"], facts["snapshots"]) == (3, 3, [], None)
    assert facts["execution"]["attention"] == "sdpa" and facts["model"] == "tiny-sd1"
    tail = load(facts["tail"])
    assert (tail.tail_tokens, tail.info.seed, tail.digest) == (10, 5, facts["tail_sha256"])


def test_a_picture_is_read_once(hiper_fit, rex, short, monkeypatch):
    names = []

    def watched(name, limit):
        names.append(name)
        return read_capped(name, limit)

    monkeypatch.setattr("hiper.images.read_capped", watched)
    called = hiper_fit(rex, "a standing dog", *short)
    assert names == [rex]
    assert load(called.paths[0]).info.source_image_sha256 == (hashlib.sha256(rex.read_bytes()).hexdigest(),)


def test_several_pictures_and_a_warm_start(hiper_fit, rex, fitted, short, tmp_path):
    called = hiper_fit(rex, rex, "a standing dog", *short, "--warm-start", fitted)
    tail = load(called.paths[0])
    assert len(tail.info.source_image_sha256) == 2
    assert np.array_equal(tail.initial, load(fitted).vectors)


def test_an_earlier_tail_is_not_replaced_unasked(hiper_fit, rex, fitted, sd1_folder):
    before = fitted.read_bytes()
    options = ("--model", sd1_folder, "--preset", "paper", "--steps", 1, "-o", fitted.parent)
    called = hiper_fit(rex, "a dog", *options)
    assert called.exit_code == 7 and "exists; add --overwrite to replace it" in called.stderr
    assert fitted.read_bytes() == before


def test_overwriting_replaces_tail_and_snapshots(hiper_fit, rex, short, tmp_path):
    assert hiper_fit(rex, "a standing dog", *short, "--snapshots-every", 1).exit_code == 0
    called = hiper_fit(rex, "a dog", *short, "--overwrite")
    assert called.exit_code == 0, called.stderr
    assert load(called.paths[0]).info.source_prompt == "a dog"
    assert names(tmp_path / "out") == ["rex-loss.png", "rex.hiper.safetensors"]


def test_a_fit_that_diverged_does_not_bar_the_way_of_the_next(hiper_fit, rex, short, tmp_path, monkeypatch):
    def diverging(*inputs, **options):
        yield next(fit_tail(*inputs, **options))
        raise FitError("the loss is nan at step 2 but must be finite; lower the learning rate")

    with monkeypatch.context() as patch:
        patch.setattr("hiper.fit_job.fit_tail", diverging)
        called = hiper_fit(rex, "a dog", *short, "--learning-rate", 100)
        assert called.exit_code == 12 and "lower the learning rate" in called.stderr
        assert names(tmp_path / "out") == []
        hiper_fit(rex, "a dog", *short, "--learning-rate", 100, "--snapshots-every", 1)
    assert names(tmp_path / "out") == ["rex.snapshots.safetensors"]
    refused = hiper_fit(rex, "a dog", *short)
    assert refused.exit_code == 10 and "another learning_rate; repeat the earlier inputs to resume" in refused.stderr
    assert "delete it to fit from the start, as --overwrite does without --resume" in refused.stderr
    assert hiper_fit(rex, "a dog", *short, "--overwrite").exit_code == 0


def test_snapshots_are_kept_on_request(fitted):
    path = fitted.with_name("rex.snapshots.safetensors")
    assert list(read_snapshots(path).tails) == [2, 4]


def test_ctrl_c_keeps_the_fit_and_says_how_to_go_on(hiper_fit, rex, sd1_folder, tmp_path):
    path = tmp_path / "rex.snapshots.safetensors"
    options = ["--preset", "paper", "--steps", "120", "--device", "cpu", "--dtype", "fp32"]
    command = [rex, "a standing dog", "--model", sd1_folder, "-o", tmp_path, *options]
    # A test run that was started in the background ignores Ctrl-C, and so would its children.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{listen}; from hiper.cli.fit import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    done = read_snapshots(path).state.step
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == (
        f"error: stopped; {path} keeps {done} of 120 steps, the same command with --resume goes on"
    )
    assert names(tmp_path) == [path.name]

    refused = hiper_fit(*command)
    assert refused.exit_code == 10 and f"holds this very fit up to step {done}; resume it" in refused.stderr
    resumed = hiper_fit(*command, "--resume", "--json")
    assert json.loads(resumed.stdout)["steps"] == 120
    assert names(tmp_path) == ["rex-loss.png", "rex.hiper.safetensors"]


def test_ctrl_c_before_the_first_step_leaves_nothing(hiper_fit, rex, short, tmp_path, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("hiper.fit_job.fit_tail", interrupt)
    called = hiper_fit(rex, "a dog", *short)
    assert called.exit_code == 130 and "stopped before the first step; nothing was written" in called.stderr
    assert not (tmp_path / "out").exists()


def test_ctrl_c_during_the_edits_keeps_the_tail(hiper_fit, rex, short, tmp_path, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("hiper.pipeline.sample", interrupt)
    called = hiper_fit(rex, "a dog", *short, "--edit", "a cat")
    assert called.exit_code == 130 and "rex.hiper.safetensors is complete" in called.stderr
    assert names(tmp_path / "out") == ["rex-loss.png", "rex.hiper.safetensors"]
