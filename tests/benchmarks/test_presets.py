"""The arithmetic of the comparison, by hand; the fits themselves on a tiny model."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks import presets
from benchmarks.presets import Curve, _inputs, compare, fit_both, table
from benchmarks.report.readme import tables
from benchmarks.report.records import read_record
from benchmarks.workload import workload
from hiper.execution import Execution
from hiper.fit import FitConfig, fit_tail
from hiper.models import load_model
from hiper.recipe import Recipe

PAPER = FitConfig(steps=6, evaluate_every=3, held_out=4, learning_rate=1e-4)
FAST = FitConfig(steps=4, evaluate_every=2, held_out=4, timesteps_per_step=3, patience=9, learning_rate=0.1)


def curve(config, losses):
    return Curve(config, step_s=[1.0, 2.0, 3.0], look_s=[5.0], losses=losses)


CURVES = {"paper": curve(PAPER, {3: 0.9, 6: 0.5}), "fast": curve(FAST, {2: 0.9, 4: 0.6})}


def test_sooner_is_counted_in_rows_and_seconds():
    found = compare({"paper": curve(PAPER, {3: 0.9, 6: 0.5}), "fast": curve(FAST, {2: 0.5, 4: 0.4})})
    assert found["fast_steps_to_paper_end"] == 2
    assert found["times_fewer_rows"] == 6 / (2 * 3)
    # paper: six steps of 2 s, since it needs no look; fast: a step of 2 s, and one of 5 s with its look
    assert found["times_less_time"] == 12 / 7


def test_a_loss_never_reached_has_no_ratio():
    found = compare({"paper": curve(PAPER, {3: 0.9, 6: 0.5}), "fast": curve(FAST, {2: 0.9, 4: 0.6})})
    assert found["fast_steps_to_paper_end"] is None and "times_fewer_rows" not in found
    shown = [list(column.cells) for column in table([found]).columns]
    assert shown[-1] == ["", "never"] and shown[2] == ["6", "12"] and shown[4] == ["0.5000", "0.6000"]
    # paper as above; fast: two steps of 2 s, and two of 5 s with their looks
    assert shown[3] == ["12.0", "14.0"]


def test_paper_too_is_done_where_it_first_is_as_low():
    found = compare({"paper": curve(PAPER, {3: 0.5, 6: 0.5}), "fast": curve(FAST, {2: 0.5, 4: 0.6})})
    assert found["times_fewer_rows"] == 3 / (2 * 3) and found["times_less_time"] == 6 / 7
    assert (found["fast_end_loss"], found["fast_best_loss"]) == (0.6, 0.5)


def test_presets_are_as_they_ship_on_animals_that_nothing_was_tuned_on(sd1_folder, tmp_path, monkeypatch):
    (folder := tmp_path / "model").symlink_to(sd1_folder)
    monkeypatch.setattr(presets, "read_recipe", lambda folder: Recipe(learning_rate=0.1, steps=3))
    configs = {}
    monkeypatch.setattr(presets, "fit_both", lambda inputs, found, *_: configs.update(found) or CURVES)
    app = presets.typer.Typer()
    app.command()(presets.main)
    done = CliRunner().invoke(app, ["--model", str(folder), "--subjects", "2", "--records", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert configs["fast"].steps == 3 and configs["fast"].learning_rate == 0.1
    assert configs["paper"].learning_rate == pytest.approx(5e-3 * 5) and configs["paper"].steps == 1000
    record = read_record(next(tmp_path.glob("presets-*.json")))
    assert record.settings["subjects"] == [200_000, 200_001] and record.model_digest
    assert "| 0 | 6 | 12.0 | 0.5000 | 12 | 14.0 | 0.6000 | never there |" in tables([record])


def test_fits_in_turns_are_the_fits_alone():
    work = workload("tiny")
    inputs = (work.unet, work.latents, work.prompt_embedding, work.alphas_cumprod)
    curves = fit_both(inputs, {"paper": PAPER, "fast": FAST}, "epsilon", Execution())
    for name, config in {"paper": PAPER, "fast": FAST}.items():
        alone = {p.step: p.held_out_loss for p in fit_tail(*inputs, config) if p.held_out_loss is not None}
        assert curves[name].losses == alone
        assert len(curves[name].step_s) + len(curves[name].look_s) == config.steps
    assert compare(curves)["paper_end_loss"] == curves["paper"].losses[6]


def test_an_image_and_its_prompt_become_the_inputs_of_a_fit(sd1_folder):
    model = load_model(sd1_folder)
    unet, latents, prompt_embedding, alphas_cumprod = _inputs(model, Image.new("RGB", (90, 70), "red"), "a dog")
    assert unet is model.unet and alphas_cumprod.shape == (1000,)
    assert latents.shape == (1, 4, 8, 8) and prompt_embedding.shape == (1, 77, 768)
