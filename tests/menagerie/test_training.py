"""Training that stops and goes on equals training that never stopped; oracle: itself, uninterrupted."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hiper.menagerie.train import dataset, text, unet, vae
from hiper.menagerie.train.checkpoint import Average, load, save
from hiper.menagerie.train.workers import Worker, run_workers
from hiper.menagerie.world import held_out, sample_identity
from hiper.models import load_model

VAE = vae.VaeConfig(samples=8, batch=2, size=32, checkpoint_steps=1)


def averages(folder: Path, name: str) -> dict[str, torch.Tensor]:
    state = load(folder / f"{name}.pt")
    assert state is not None
    return state["average"]


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert left.keys() == right.keys()
    for name, weight in left.items():
        torch.testing.assert_close(weight, right[name], rtol=0, atol=tolerance, msg=name)


class Stopped(Exception):
    pass


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a training die before its next step, as by a kill."""
    real = Average.update

    def update(average: Average) -> None:
        if average.updates == step:
            raise Stopped
        real(average)

    monkeypatch.setattr(Average, "update", update)


def test_a_killed_vae_training_goes_on_as_if_nothing_had_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae.train(Worker(), tmp_path / "whole", VAE)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, 2)
        vae.train(Worker(), tmp_path / "parts", VAE)
    vae.train(Worker(), tmp_path / "parts", VAE)
    assert_equal(averages(tmp_path / "whole", "vae"), averages(tmp_path / "parts", "vae"))


@pytest.mark.usefixtures("one_thread")  # as the workers
def test_two_workers_take_the_step_of_their_joint_batch(tmp_path: Path) -> None:
    config = replace(VAE, samples=2)
    run_workers(partial(vae.train, folder=tmp_path, config=config), 2)
    torch.manual_seed(0)
    network = vae.new_vae()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3 * 1e-4 / 0.02, betas=(0.9, 0.99), weight_decay=0.01)
    for seed in (0, 1):
        torch.manual_seed(seed)
        loss = vae.vae_loss(network, vae.picture_batch(seed, 1, config.size), config.kl_weight)
        (loss / 2).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    state = load(tmp_path / "vae.pt")
    assert state is not None
    assert_equal(network.state_dict(), state["network"], 1e-6)


def test_a_checkpoint_is_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    save(path, {"step": 1})

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save(path, {"step": 2})
    assert load(path) == {"step": 1}


def test_mixing_replaces_whole_tails_and_nothing_else() -> None:
    torch.manual_seed(0)
    own, other = torch.zeros(400, 77, 3), torch.ones(400, 77, 3)
    mixed = unet.mix_tails(own, other, share=0.6, tail_tokens=5)
    assert mixed[:, :72].sum() == 0
    tails = mixed[:, 72:].flatten(1)
    assert ((tails == 0).all(1) | (tails == 1).all(1)).all()
    assert 0.5 < tails.mean() < 0.7


def test_the_snr_weight_is_the_formula() -> None:
    alphas_cumprod = unet.new_scheduler().alphas_cumprod
    weight = unet.snr_weight(alphas_cumprod, torch.arange(1000))
    for timestep in (0, 200, 600, 999):
        snr = float(alphas_cumprod[timestep] / (1 - alphas_cumprod[timestep]))
        assert float(weight[timestep]) == pytest.approx(max(0.15, min(snr, 5) / snr), rel=1e-5)


def test_shards_repeat_and_captions_fill_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SHARD", 64)
    tokenizer = text.open_tokenizer(tmp_path / "tokenizer")
    network = vae.new_vae().eval()
    for folder in ("one", "two"):
        dataset.build(Worker(), tmp_path / folder, network, tokenizer, 64)
    one, two = (dataset.read(tmp_path / folder) for folder in ("one", "two"))
    assert torch.equal(one.latents, two.latents) and torch.equal(one.captions, two.captions)
    assert one.latents.shape == (64, 4, 16, 16) and one.captions.shape == (64, 4, 77)
    assert (one.captions[..., 0] == tokenizer.bos_token_id).all()
    ends_in_words = (one.captions[..., 75] != tokenizer.eos_token_id).float().mean()
    assert 0.1 < ends_in_words < 0.6


def test_held_out_animals_are_in_no_training_stream() -> None:
    drawn = {held_out(index)[0] for index in range(50)}
    for stream in (1, 2, 3, 4, (2, 0), (3, 0), (3, 1), (4, 0)):
        rng = np.random.default_rng(stream)
        assert drawn.isdisjoint(sample_identity(rng) for _ in range(20))


@pytest.mark.slow
def test_the_command_trains_in_several_processes(tmp_path: Path) -> None:
    def call(*arguments: str) -> None:
        command = [sys.executable, "-m", "hiper.menagerie.train", *arguments, "--folder", str(tmp_path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    call("vae", "--samples", "16")
    call("text", "--samples", "256")
    call("data", "--count", "4096", "--workers", "2")
    call("unet", "--samples", "64", "--workers", "2", "--mixing", "0.5")
    call("probe", "--samples", "64")
    call("assemble", str(tmp_path / "model"))
    assert load_model(tmp_path / "model").image_size == 128
