"""Oracles: HiPer's own pipeline, diffusers' image-to-image pipeline, fit_tail, plain loops, and identities."""

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

from benchmarks.fidelity import methods, rivals, tails
from benchmarks.fidelity.cases import held_out_case, shots
from benchmarks.fidelity.descent import descend
from benchmarks.fidelity.methods import Setting
from benchmarks.fidelity.pseudo_word import encode_pseudo_word, first_vectors, pseudo_prompts
from hiper.fit import FitConfig, fit_tail
from hiper.images import from_uint8, to_uint8
from hiper.objective import Objective
from hiper.pipeline import HiPer
from hiper.tail import splice

FIT = FitConfig(steps=3, timesteps_per_step=4, stratified=True, learning_rate=0.1, decay="cosine")


@pytest.fixture
def cases():
    return [held_out_case(0), held_out_case(1)]


def pixels(picture):
    return torch.tensor(list(picture.get_flattened_data())).reshape(128, 128, 3).numpy()


def test_hiper_is_what_the_pipeline_does(studio, cases, monkeypatch):
    monkeypatch.setattr(tails, "STRENGTHS", (0.3,))
    settings = studio.settings
    hiper = HiPer(studio.model, studio.execution)
    tail = hiper.fit(tails.Image.fromarray(cases[1].picture()), cases[1].prompt, config=settings.fit)
    outcomes = {outcome.setting: outcome for outcome in tails.hiper(studio, cases)}
    for setting, strength in ((Setting("hiper"), 0.8), (Setting("hiper", "tail_strength", 0.3), 0.3)):
        shot, image = outcomes[setting].shots[-1], outcomes[setting].images[-1:]
        [picture] = hiper.edit(
            tail,
            shot.prompt,
            seed=shot.noise_seed,
            tail_strength=strength,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
        )
        assert abs(to_uint8(image)[0].astype(int) - pixels(picture)).max() <= 1


def test_snapshots_are_those_of_a_fit_that_never_stops_early(studio, cases):
    stopping = replace(studio.settings.fit, least_gain=0.9)
    found = tails.fit(studio, cases[0], stopping)
    endless = tails.fit(studio, cases[0], replace(stopping, patience=0))
    assert found.snapshots.keys() == endless.snapshots.keys() == {1, 2, 4}
    for step, tail in found.snapshots.items():
        torch.testing.assert_close(tail, endless.snapshots[step], rtol=0, atol=0)
    torch.testing.assert_close(found.tail, found.snapshots[1])


def test_curve_over_tail_tokens_has_its_own_fits_on_the_first_cases(studio, monkeypatch):
    monkeypatch.setattr(tails, "TAIL_TOKENS", (1, 3))
    some = replace(studio, settings=replace(studio.settings, token_cases=1))
    outcomes = list(tails.tail_tokens(some, [held_out_case(0), held_out_case(1)]))
    assert [outcome.setting for outcome in outcomes] == [
        Setting("hiper", "tail_tokens", 1),
        Setting("hiper", "tail_tokens", 3),
    ]
    assert {shot.case.index for outcome in outcomes for shot in outcome.shots} == {0}
    assert list(tails.tail_tokens(some, [held_out_case(1)])) == []


def test_pictures_do_not_depend_on_the_batch(studio, cases):
    takes = shots(cases, seeds=2)
    noise, prompts = studio.noise(takes), studio.encode_prompts(takes)
    whole = studio.paint(noise, prompts)
    torch.testing.assert_close(whole[7:8], studio.paint(noise[7:8], prompts[7:8]), rtol=0, atol=1e-4)


def test_sdedit_is_diffusers_image_to_image(studio, cases, monkeypatch):
    settings = replace(studio.settings, num_inference_steps=5)
    monkeypatch.setattr(rivals, "SDEDIT_STRENGTHS", (0.4, 0.8))
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(settings.model)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for outcome in rivals.sdedit(replace(studio, settings=settings), cases):
        shot = outcome.shots[-1]
        theirs = pipeline(
            shot.prompt,
            image=studio.encode_sources([shot.case]),
            strength=outcome.setting.value,
            num_inference_steps=5,
            guidance_scale=settings.guidance_scale,
            generator=torch.Generator().manual_seed(shot.noise_seed),
            output_type="pt",
        ).images
        torch.testing.assert_close(outcome.images[-1:], theirs * 2 - 1, rtol=0, atol=2e-3)


def test_imagic_at_eta_one_is_text_alone_and_at_zero_is_not(studio, cases, monkeypatch):
    monkeypatch.setattr(rivals, "IMAGIC_ETAS", (1.0, 0.0))
    text = next(methods.text(studio, cases)).images
    all_text, all_picture = (outcome.images for outcome in rivals.imagic(studio, cases))
    torch.testing.assert_close(all_text, text, rtol=0, atol=1e-4)
    assert (all_picture - text).abs().max() > 1e-3


def test_a_pseudo_word_with_the_vectors_of_a_word_is_that_word(studio):
    vectors = first_vectors(studio.model, ["dog"], 1)
    found = encode_pseudo_word(studio.model, pseudo_prompts(studio.model, ["a sitting cat in the snow"], 1), vectors)
    torch.testing.assert_close(found, studio.model.encode_prompt("a dog sitting cat in the snow"))
    assert not studio.model.text_encoder.get_input_embeddings()._forward_hooks


def test_inversion_learns_and_each_shot_gets_the_word_of_its_case(studio, cases, monkeypatch):
    seen = []
    monkeypatch.setattr(rivals, "encode_pseudo_word", lambda *args: seen.append(args[2]) or encode_pseudo_word(*args))
    outcomes = list(rivals.inversion(studio, cases))
    assert [str(outcome.setting) for outcome in outcomes] == ["inversion steps 1", "inversion steps 2", "inversion"]
    vectors = seen[-1]
    assert [len(outcome.shots) for outcome in outcomes] == [8, 8, 16] and len(vectors) == 16
    assert torch.equal(vectors[0], vectors[7]) and not torch.equal(vectors[7], vectors[8])
    assert not torch.equal(vectors[0], first_vectors(studio.model, [cases[0].source.species], 5)[0])


def test_descent_on_a_tail_is_fit_tail(studio, cases):
    model, latents = studio.model, studio.encode_sources(cases[:1])
    prompt = model.encode_prompt(cases[0].prompt)
    steps = descend(studio, latents, prompt[:, -5:], lambda tails: splice(prompt, tails[0]), FIT)
    for tail, progress in zip(steps, fit_tail(model.unet, latents, prompt, model.alphas_cumprod, FIT), strict=True):
        torch.testing.assert_close(tail[0], progress.tail, rtol=0, atol=1e-5)


def test_descent_on_two_pictures_is_two_plain_loops(studio, cases):
    model, latents = studio.model, studio.encode_sources(cases)
    start = model.encode_prompt([case.prompt for case in cases])
    *_, together = descend(studio, latents, start, lambda embedding: embedding, FIT)
    for index in range(2):
        generator = torch.Generator().manual_seed(FIT.seed)
        both = Objective(model.unet, latents, start, model.alphas_cumprod, "epsilon", studio.execution)
        alone = start[index : index + 1].clone().requires_grad_()
        adam = torch.optim.Adam([alone])
        for step in range(FIT.steps):
            noise, timesteps = (drawn[index::2] for drawn in both.draw(4, True, generator))
            alpha = model.alphas_cumprod[timesteps].float().view(-1, 1, 1, 1)
            noisy = alpha.sqrt() * latents[index] + (1 - alpha).sqrt() * noise
            loss = (model.unet(noisy, timesteps, alone.expand(4, -1, -1)).sample - noise).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.param_groups[0]["lr"] = FIT.learning_rate_at(step)
            adam.step()
        torch.testing.assert_close(together[index], alone[0].detach(), rtol=0, atol=2e-3)


@pytest.mark.usefixtures("one_thread")
def test_bounds_are_the_truth_through_the_vae_and_the_source_itself(studio, cases):
    [truth], [source] = methods.truth(studio, cases), methods.source(studio, cases)
    assert len(truth.shots) == len(source.shots) == 8
    through = studio.model.decode_latents(studio.model.encode_image(from_uint8([truth.shots[5].truth()])))
    torch.testing.assert_close(truth.images[5:6], through, rtol=0, atol=1e-4)
    assert (to_uint8(source.images[4:]) == cases[1].picture()).all()
