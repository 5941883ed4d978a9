"""Runs that are cut off go on where they were; a record becomes a page; a poor model is turned away."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.fidelity import __main__ as command
from benchmarks.fidelity import gate, rivals, tails
from benchmarks.fidelity import run as running
from benchmarks.fidelity.cases import EDITS, held_out_case
from benchmarks.fidelity.gate import failures, held_out_request
from benchmarks.fidelity.methods import Setting
from benchmarks.fidelity.run import Part, read_pictures, read_scores, read_work_s, run, split
from hiper.menagerie.probe import Probe
from hiper.menagerie.train.vae import psnr

FINE = {"species": 1.0, "pose": 0.99, "place": 0.98}


@pytest.fixture
def quick(monkeypatch, studio):
    """One point a curve, and no second loading of the model."""
    monkeypatch.setattr(tails, "STRENGTHS", (0.5,))
    monkeypatch.setattr(tails, "SNAPSHOTS", (1,))
    monkeypatch.setattr(rivals, "SDEDIT_STRENGTHS", (0.5,))
    monkeypatch.setattr(running, "open_studio", lambda settings: replace(studio, settings=settings))


def test_parts_cover_every_case_once():
    parts = split(["text", "hiper"], first=100, identities=10)
    assert [part.indices for part in parts if part.method == "hiper"] == [
        (100, 101, 102, 103),
        (104, 105, 106, 107),
        (108, 109),
    ]


def test_a_run_goes_on_where_it_was_cut_off(quick, studio, tmp_path, monkeypatch):
    parts = [Part("source", (0,)), Part("text", (0,))]
    settings = replace(studio.settings, seeds=1)
    assert list(run(settings, tmp_path, parts[:1], workers=1)) == parts[:1]
    before = parts[0].scores_path(tmp_path).stat().st_mtime_ns
    assert list(run(settings, tmp_path, parts, workers=1)) == parts
    assert parts[0].scores_path(tmp_path).stat().st_mtime_ns == before
    assert len(read_scores(tmp_path, parts)) == 8 and read_work_s(tmp_path, parts)["text"] > 0
    source = read_pictures(tmp_path, parts, Setting("source"))
    assert (source == np.stack([held_out_case(0).picture()] * 4)).all()
    monkeypatch.setattr(running, "work", lambda *part: pytest.fail(f"{part} is done again"))
    assert list(run(settings, tmp_path, parts, workers=1)) == parts


def test_only_pictures_of_the_first_seed_are_kept(quick, studio, tmp_path):
    [part] = run(studio.settings, tmp_path, [Part("text", (2,))], workers=1)
    assert len(read_scores(tmp_path, [part])) == 8
    assert read_pictures(tmp_path, [part], Setting("text")).shape == (len(EDITS), 128, 128, 3)


@pytest.mark.slow
def test_workers_find_what_one_process_finds(menagerie_like, studio, tmp_path):
    parts = [Part("text", (0,)), Part("text", (1,))]
    for workers in (1, 2):
        list(run(studio.settings, tmp_path / str(workers), parts, workers))
    alone, together = (read_scores(tmp_path / str(workers), parts) for workers in (1, 2))
    assert [score.identity_error for score in alone] == pytest.approx([s.identity_error for s in together], abs=1)


def invoke(*arguments):
    return CliRunner().invoke(command.app, [str(argument) for argument in arguments])


def test_run_writes_record_page_and_pictures(quick, menagerie_like, tmp_path):
    options = ["--identities", 1, "--seeds", 1, "--steps", 2, "--num-inference-steps", 2, "--folder", tmp_path]
    result = invoke("run", "--model", menagerie_like, "--methods", "truth,text,hiper,sdedit", *options)
    assert result.exit_code == 0, result.output
    [record] = tmp_path.glob("*/fidelity-tiny-menagerie-*.json")
    content = json.loads(record.read_text())
    assert content["settings"]["digest"] and content["settings"]["fit"]["steps"] == 2
    page = (record.parent / "fidelity-tiny-menagerie.md").read_text()
    for line in ("| text alone |", "| HiPer |", "| SDEdit 0.5 |", "- pose+place: "):
        assert line in page
    for name in ("sheet", "tradeoff", "knobs"):
        assert f"(pictures/fidelity-tiny-menagerie-{name}.png)" in page
        assert (record.parent / "pictures" / f"fidelity-tiny-menagerie-{name}.png").stat().st_size > 1000


def test_an_unknown_method_is_named(menagerie_like, tmp_path):
    result = invoke("run", "--model", menagerie_like, "--methods", "text,magic", "--folder", tmp_path)
    assert result.exit_code == 2 and "there is no method 'magic'" in result.output


def test_gate_measures_and_turns_a_random_model_away(menagerie_like, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "NUM_INFERENCE_STEPS", 2)
    monkeypatch.setattr(gate, "describe", lambda identity, rng: "fur")  # the tiny tokenizer spells every letter
    result = invoke("gate", "--model", menagerie_like, "--samples", 6, "--folder", tmp_path)
    assert result.exit_code == 1
    assert "the VAE's PSNR in dB is" in result.output and "hiper.menagerie.train vae" in result.output
    [record] = tmp_path.glob("*/fidelity-gate-tiny-menagerie-*.json")
    results = json.loads(record.read_text())["results"]
    assert 0 <= results["from_text"]["pose"] <= 1 and results["from_detailed_text"].keys() == {"pattern", "collar"}
    assert (record.parent / "pictures" / "fidelity-gate-tiny-menagerie-sheet.png").exists()


def test_gate_lets_a_good_model_pass_and_says_what_a_poor_one_lacks():
    good = {"vae_psnr_db": 27.0, "probe_on_rendered": FINE, "probe_on_decoded": FINE, "from_text": FINE}
    assert failures(good) == []
    assert failures(good | {"vae_psnr_db": float("nan"), "from_text": FINE | {"pose": 0.85}}) == [
        "the VAE's PSNR in dB is nan but must be at least 27.0; train on: python -m hiper.menagerie.train vae",
        "from_text pose is 0.850 but must be at least 0.9; train on: python -m hiper.menagerie.train unet",
    ]


def test_gate_reads_shares_off_the_truth(studio):
    requests = [held_out_request(index) for index in range(6)]
    assert [request.detailed for request in requests[:2]] == [False, True] and " with " in requests[1].prompt

    class Stubborn(Probe):
        """Sees the truth of every picture but the first."""

        def read(self, images):
            reading = super().read(images)
            truths = torch.tensor([gate.true_outputs(r.identity, r.content, r.framing)[0] for r in requests])
            truths[0] = -1
            return replace(reading, classes=dict(zip(reading.classes, truths.T, strict=True)))

    shares = gate._shares(replace(studio, probe=Stubborn()), torch.zeros(6, 3, 128, 128), requests, ("pose", "collar"))
    assert shares == pytest.approx({"pose": 5 / 6, "collar": 5 / 6})


def test_psnr_of_a_constant_offset():
    truth = torch.zeros(2, 3, 4, 4)
    assert psnr(truth + 0.02, truth) == pytest.approx(20 * np.log10(2 / 0.02), rel=1e-5)
