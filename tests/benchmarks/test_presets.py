"""The arithmetic of the comparison, by hand; the fits themselves on a tiny model."""

from PIL import Image

from benchmarks.presets import Curve, _inputs, compare, fit_both, table
from benchmarks.workload import workload
from hiper.execution import Execution
from hiper.fit import FitConfig, fit_tail
from hiper.models import load_model

PAPER = FitConfig(steps=6, evaluate_every=3, held_out=4, learning_rate=1e-4)
FAST = FitConfig(steps=4, evaluate_every=2, held_out=4, timesteps_per_step=3, patience=9, learning_rate=0.1)


def curve(config, losses):
    return Curve(config, step_s=[1.0, 2.0, 3.0], look_s=[5.0], losses=losses)


def test_sooner_is_counted_in_rows_and_seconds():
    found = compare({"paper": curve(PAPER, {3: 0.9, 6: 0.5}), "fast": curve(FAST, {2: 0.5, 4: 0.4})})
    assert found["fast_steps_to_paper_end"] == 2
    assert found["times_fewer_rows"] == 6 / (2 * 3)
    # paper: six steps of 2 s, since it needs no look; fast: a step of 2 s, and one of 5 s with its look
    assert found["times_less_time"] == 12 / 7


def test_a_loss_never_reached_has_no_ratio():
    found = compare({"paper": curve(PAPER, {3: 0.9, 6: 0.5}), "fast": curve(FAST, {2: 0.9, 4: 0.6})})
    assert found["fast_steps_to_paper_end"] is None and "times_fewer_rows" not in found
    assert [list(column.cells) for column in table([found]).columns][-1] == ["never"]


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
