"""fit_tail against a plain transcription of the published loop, and against itself after an interruption."""

import dataclasses
import gc
import itertools
import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn.functional import mse_loss

from hiper.errors import TailError
from hiper.execution import Execution
from hiper.fit import FitConfig, FitError, fit_tail
from hiper.objective import Objective, frozen

SHORT = FitConfig(steps=6, seed=3)
FAST = FitConfig(
    learning_rate=2e-2, decay="cosine", steps=12, timesteps_per_step=4, stratified=True, evaluate_every=3, held_out=8
)


def published_loop(inputs, latents, steps, seed, prediction_type):
    """HiPer0/HiPer's train.py: an unfrozen UNet, Adam on the last five rows, one image, one timestep a step."""
    unet, _, embedding, _ = inputs
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type
    )
    generator = torch.Generator().manual_seed(seed)
    tail = embedding[:, -5:].clone().requires_grad_()
    optimizer = torch.optim.Adam([tail], lr=5e-3, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(steps):
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(0, 1000, (1,), generator=generator)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        target = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
        noise_pred = unet(noisy, timesteps, torch.cat([embedding[:, :-5], tail], dim=1)).sample
        loss = mse_loss(noise_pred, target, reduction="none").mean([1, 2, 3]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item(), tail.grad[0].clone(), tail.detach()[0].clone()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_paper_preset_is_the_published_loop(fit_inputs, prediction_type):
    latents = fit_inputs.latents[:1]
    fit = fit_tail(*fit_inputs._replace(latents=latents), SHORT, prediction_type=prediction_type)
    mean = torch.zeros(5, 12)
    for ours, (loss, gradient, tail) in zip(
        list(fit), published_loop(fit_inputs, latents, 6, 3, prediction_type), strict=True
    ):
        mean = 0.9 * mean + 0.1 * gradient  # the definition of Adam's first moment shows ours the gradient it got
        assert ours.loss == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(ours.state.adam_mean, mean, rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(ours.tail, tail, rtol=0, atol=1e-6)


def test_paper_preset_does_what_the_paper_says():
    assert dataclasses.asdict(FitConfig()) | {"seed": 0} == {
        "tail_tokens": 5,
        "learning_rate": 5e-3,
        "decay": "constant",
        "steps": 1000,
        "timesteps_per_step": 1,
        "stratified": False,
        "evaluate_every": 0,
        "held_out": 16,
        "patience": 0,
        "least_gain": 1e-3,
        "seed": 0,
    }


@pytest.mark.parametrize("config", [SHORT, FAST], ids=["paper", "fast"])
def test_resuming_gives_the_very_same_fit(fit_inputs, config):
    whole = list(fit_tail(*fit_inputs, config))
    start = list(itertools.islice(fit_tail(*fit_inputs, config), 4))
    rest = list(fit_tail(*fit_inputs, config, resume=start[-1].state))
    assert [progress.loss for progress in start + rest] == [progress.loss for progress in whole]
    for field, wanted in vars(whole[-1].state).items():
        found = getattr(rest[-1].state, field)
        assert torch.equal(found, wanted) if isinstance(wanted, torch.Tensor) else found == wanted


def test_states_already_yielded_stay_as_they_were(fit_inputs):
    states = [progress.state for progress in fit_tail(*fit_inputs, SHORT)]
    again = next(fit_tail(*fit_inputs, SHORT, resume=states[1])).state
    assert torch.equal(again.tail, states[2].tail)
    assert torch.equal(again.adam_square, states[2].adam_square)


def test_the_unet_is_really_frozen_and_then_as_before(fit_inputs):
    unet = fit_inputs.unet.train()
    unet.conv_in.weight.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in unet.named_parameters()}
    fit = fit_tail(*fit_inputs, SHORT)
    next(fit)
    assert not unet.training and not any(parameter.requires_grad for parameter in unet.parameters())
    assert all(parameter.grad is None for parameter in unet.parameters())
    fit.close()
    assert all(module.training for module in unet.modules())
    assert [name for name, p in unet.named_parameters() if not p.requires_grad] == ["conv_in.weight"]
    assert all(torch.equal(parameter, before[name]) for name, parameter in unet.named_parameters())


def test_a_failure_thaws_the_unet_too(fit_inputs):
    with pytest.raises(ZeroDivisionError), frozen(fit_inputs.unet):
        raise ZeroDivisionError
    assert all(parameter.requires_grad for parameter in fit_inputs.unet.parameters())


def test_no_step_leaves_a_tensor_behind(fit_inputs):
    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    fit = fit_tail(*fit_inputs, SHORT)
    next(fit), next(fit)
    before = tensors()
    next(fit), next(fit)
    assert tensors() == before


def test_several_images_give_the_mean_of_their_losses(fit_inputs):
    def objective(latents):
        return Objective(*fit_inputs._replace(latents=latents), "epsilon", Execution())

    tail = fit_inputs.prompt_embedding[0, -5:]
    noise, timesteps = objective(fit_inputs.latents).draw(3, False, torch.Generator().manual_seed(1))
    assert noise.shape == (6, 4, 8, 8) and timesteps.shape == (6,)
    both = objective(fit_inputs.latents).loss(tail, noise, timesteps)
    each = [objective(fit_inputs.latents[i : i + 1]).loss(tail, noise[i::2], timesteps[i::2]) for i in (0, 1)]
    assert both.item() == pytest.approx(sum(each).item() / 2, rel=1e-5)


def test_strata_cover_the_range_evenly_for_every_image(fit_inputs):
    objective = Objective(*fit_inputs, "epsilon", Execution())
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([objective.draw(4, True, generator)[1].view(4, 2) for _ in range(200)])
    assert torch.equal(draws // 250, torch.arange(4)[None, :, None].expand(200, 4, 2))
    assert draws.float().mean().item() == pytest.approx(499.5, abs=10)
    assert not torch.equal(draws[..., 0], draws[..., 1])


def test_uniform_timesteps_cover_the_range(fit_inputs):
    objective = Objective(*fit_inputs, "epsilon", Execution())
    timesteps = objective.draw(5000, False, torch.Generator().manual_seed(0))[1]
    assert (timesteps.min(), timesteps.max()) == (0, 999)
    assert torch.bincount(timesteps // 100).min() > 850


@pytest.mark.parametrize(
    ("decay", "shares"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0.1]), ("cosine", [1, 0.5, (1 + math.cos(0.9 * math.pi)) / 2])],
)
def test_learning_rates(decay, shares):
    config = FitConfig(learning_rate=2.0, decay=decay, steps=10)
    assert [config.learning_rate_at(step) / 2 for step in (0, 5, 9)] == pytest.approx(shares)


def test_held_out_loss_is_the_same_whatever_seed_and_batch(fit_inputs):
    def first(**changes):
        config = dataclasses.replace(FAST, evaluate_every=1, learning_rate=1e-12, **changes)
        return next(fit_tail(*fit_inputs, config)).held_out_loss

    assert first() == pytest.approx(first(seed=9), rel=1e-6) == pytest.approx(first(timesteps_per_step=3), rel=1e-6)


def test_the_best_tail_is_kept(fit_inputs):
    config = dataclasses.replace(FAST, learning_rate=3.0, evaluate_every=2, least_gain=0.01)
    best_loss, best = math.inf, None
    for progress in fit_tail(*fit_inputs, config):
        if progress.step % 2 == 0 and progress.held_out_loss < 0.99 * best_loss:
            best_loss, best = progress.held_out_loss, progress
        assert torch.equal(progress.best_tail, (best or progress).tail)
        assert (progress.held_out_loss is None) == (progress.step % 2 == 1)
    assert (progress.state.best_loss, progress.state.best_step) == (best_loss, best.step)
    assert 2 < best.step < 12, "or the test shows nothing"


def test_without_evaluation_the_last_tail_is_the_best(fit_inputs):
    last = list(fit_tail(*fit_inputs, SHORT))[-1]
    assert last.held_out_loss is None and torch.equal(last.best_tail, last.tail)


def test_a_plateau_ends_the_fit(fit_inputs):
    config = dataclasses.replace(FAST, steps=100, patience=2, least_gain=0.9)
    fit = list(fit_tail(*fit_inputs, config))
    assert [fit[-1].step, fit[-1].state.best_step] == [9, 3]  # a first look, and two without a gain of 90 %
    assert not list(fit_tail(*fit_inputs, config, resume=fit[-1].state))


def test_fitting_lowers_the_held_out_loss(fit_inputs):
    config = dataclasses.replace(FAST, learning_rate=3.0, evaluate_every=1)
    losses = [progress.held_out_loss for progress in fit_tail(*fit_inputs, config)]
    assert losses[-1] < 0.97 * losses[0]


def test_a_warm_start_begins_where_another_fit_ended(fit_inputs):
    earlier = list(fit_tail(*fit_inputs, SHORT))[-1]
    still = dataclasses.replace(SHORT, learning_rate=1e-12)
    assert torch.allclose(next(fit_tail(*fit_inputs, still, init=earlier.tail)).tail, earlier.tail)
    with pytest.raises(TailError, match="the tail to start from is 5 x 12 but this fit needs 10 x 12"):
        fit_tail(*fit_inputs, FitConfig(tail_tokens=10), init=earlier.tail)


def test_a_loss_that_is_not_finite_is_an_error(fit_inputs):
    with pytest.raises(FitError, match="the loss is nan at step 1 but must be finite; lower the learning rate"):
        next(fit_tail(*fit_inputs._replace(latents=fit_inputs.latents * math.nan), SHORT))


def test_a_held_out_loss_that_is_not_finite_is_an_error_and_never_the_best(fit_inputs, monkeypatch):
    state = next(fit_tail(*fit_inputs, FAST)).state
    best = state.keep_better(1.0, 0.0)
    assert best.keep_better(math.nan, 0.0) is best and state.keep_better(math.nan, 0.0) is state
    monkeypatch.setattr("hiper.fit._held_out_loss", lambda *inputs: lambda tail: math.nan)
    with pytest.raises(FitError, match="the held-out loss is nan at step 3 but must be finite; lower the learning"):
        list(fit_tail(*fit_inputs, FAST))


@pytest.mark.parametrize("change", [{"steps": 0}, {"learning_rate": -1.0}, {"tail_tokens": 0}, {"held_out": 0}])
def test_impossible_configurations_are_errors(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} is .* but must be above 0"):
        FitConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decay": "step"}, "decay is 'step' but must be one of constant, linear, cosine"),
        ({"evaluate_every": -1}, "evaluate_every is -1 but must be 0 or more"),
        ({"patience": -1}, "patience is -1 but must be 0 or more"),
        ({"least_gain": math.nan}, "least_gain is nan but must be 0 or more"),
    ],
)
def test_a_configuration_that_would_fail_later_fails_at_once(change, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**change)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 0.02), ("fp16", 0.005)])
def test_half_precision_follows_fp32(fit_inputs, dtype, tolerance):
    exact = list(fit_tail(*fit_inputs, FAST))
    fit_inputs.unet.to({"bf16": torch.bfloat16, "fp16": torch.float16}[dtype])
    half = list(fit_tail(*fit_inputs, FAST, execution=Execution(dtype=dtype)))
    for ours, wanted in zip(half, exact, strict=True):
        assert ours.loss == pytest.approx(wanted.loss, rel=tolerance)
        assert ours.tail.dtype == torch.float32
    moved = exact[-1].tail - fit_inputs.prompt_embedding[0, -5:]
    assert (half[-1].tail - exact[-1].tail).norm() < 0.5 * moved.norm()


def test_fp16_skips_a_step_that_overflows_and_lowers_its_scale(fit_inputs):
    fit_inputs.unet.half()
    state = next(fit_tail(*fit_inputs, SHORT, execution=Execution(dtype="fp16"))).state
    huge = dataclasses.replace(state, loss_scale=torch.tensor([1e30, 0], dtype=torch.float64))
    after = next(fit_tail(*fit_inputs, SHORT, resume=huge, execution=Execution(dtype="fp16"))).state
    assert torch.equal(after.tail, state.tail) and after.adam_step == state.adam_step and after.step == state.step + 1
    assert after.loss_scale[0] == pytest.approx(5e29)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_recorded_step_holds_all_of_a_step(fit_inputs, graphs, dtype):
    fit_inputs.unet.to(torch.float16 if dtype == "fp16" else torch.float32)
    wanted = list(fit_tail(*fit_inputs, FAST, execution=Execution(dtype=dtype)))
    found = list(fit_tail(*fit_inputs, FAST, execution=Execution(dtype=dtype, cuda_graph=True)))
    (graph,) = graphs
    assert torch.ops.aten._fused_adam_.tensor_lr in [operation for operation, *_ in graph.operations]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.loss == theirs.loss and ours.held_out_loss == theirs.held_out_loss
        for name in ("tail", "adam_step", "adam_mean", "adam_square", "loss_scale"):
            assert torch.equal(getattr(ours.state, name), getattr(theirs.state, name)), name


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_a_cuda_graph_makes_the_same_steps(fit_inputs, dtype):
    from hiper.execution import make_ready

    eager = make_ready(fit_inputs.unet, Execution("cuda", dtype))
    wanted = list(fit_tail(*fit_inputs, FAST, execution=eager))
    found = list(fit_tail(*fit_inputs, FAST, execution=dataclasses.replace(eager, cuda_graph=True)))
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    torch.testing.assert_close(found[-1].tail, wanted[-1].tail, rtol=0, atol=1e-3)
