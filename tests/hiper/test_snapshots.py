"""Snapshots against the uninterrupted fit, through Ctrl-C and kill -9; the reader is fuzzed."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hiper.errors import OutputError
from hiper.fit import FitConfig, fit_tail
from hiper.snapshot_file import (
    SnapshotError,
    parse_snapshots,
    read_snapshots,
    serialize_snapshots,
    write_snapshots,
)
from hiper.snapshots import check_identity, find_snapshots, fit_identity, follow, keep_snapshots

CONFIG = FitConfig(steps=10, timesteps_per_step=2, evaluate_every=3, held_out=4, learning_rate=0.05, decay="linear")
IDENTITY = fit_identity(CONFIG, model="abc")


def same(first, second):
    """Equal, tensors by their bits."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if dataclasses.is_dataclass(first):
        return same(vars(first), vars(second))
    return first == second


@pytest.fixture
def whole(fit_inputs, tmp_path):
    """The snapshots of a fit that nothing interrupts."""
    path = tmp_path / "whole.safetensors"
    list(keep_snapshots(fit_tail(*fit_inputs, CONFIG), path, 4, IDENTITY))
    return read_snapshots(path)


def test_a_file_holds_the_whole_fit(fit_inputs, whole):
    fit = list(fit_tail(*fit_inputs, CONFIG))
    assert same(whole.state, fit[-1].state)
    assert same(whole.tails, {step: fit[step - 1].tail for step in (4, 8)})
    assert whole.losses == tuple(progress.loss for progress in fit)
    assert whole.held_out_losses == {step: fit[step - 1].held_out_loss for step in (3, 6, 9, 10)}
    assert whole.identity == IDENTITY


def test_a_snapshot_can_be_chosen(fit_inputs, whole):
    assert torch.equal(whole.tail_at(8), list(fit_tail(*fit_inputs, CONFIG))[7].tail)
    with pytest.raises(SnapshotError, match="there is no snapshot of step 5; choose one of 4, 8"):
        whole.tail_at(5)


def test_ctrl_c_loses_nothing(fit_inputs, whole, tmp_path):
    path, reached = tmp_path / "fit.safetensors", []

    def interrupt(*_):
        if reached == [1, 2, 3, 4, 5, 6]:
            raise KeyboardInterrupt

    hook = fit_inputs.unet.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        reached.extend(p.step for p in keep_snapshots(fit_tail(*fit_inputs, CONFIG), path, 4, IDENTITY))
    hook.remove()
    earlier = find_snapshots(path, IDENTITY)
    assert earlier.state.step == 6 and list(earlier.tails) == [4]
    list(keep_snapshots(fit_tail(*fit_inputs, CONFIG, resume=earlier.state), path, 4, IDENTITY, earlier))
    assert same(read_snapshots(path), whole)


CHILD = """
import sys, torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from hiper.fit import fit_tail
from hiper.snapshots import keep_snapshots
from tests.hiper.test_snapshots import CONFIG, IDENTITY
torch.set_num_threads(1)
folder, inputs = sys.argv[1], load_file(sys.argv[1] + "/inputs.safetensors")
fit = fit_tail(UNet2DConditionModel.from_pretrained(folder), **inputs, config=CONFIG)
for progress in keep_snapshots(fit, folder + "/fit.safetensors", 1, IDENTITY):
    print(progress.step, flush=True)
    if progress.step == 5:
        sys.stdin.read()
"""


def test_a_killed_fit_resumes_as_if_nothing_had_happened(one_thread, fit_inputs, whole, tmp_path):
    unet, *inputs = fit_inputs
    unet.save_pretrained(tmp_path)
    names = ["latents", "prompt_embedding", "alphas_cumprod"]
    save_file(dict(zip(names, inputs, strict=True)), tmp_path / "inputs.safetensors")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert [next(child.stdout) for _ in range(5)] == [f"{step}\n" for step in range(1, 6)]
        child.kill()
    assert child.returncode == -signal.SIGKILL
    earlier = find_snapshots(tmp_path / "fit.safetensors", IDENTITY)
    assert earlier.state.step == 5 and list(earlier.tails) == [1, 2, 3, 4, 5]
    *_, last = fit_tail(*fit_inputs, CONFIG, resume=earlier.state)
    assert same(last.state, whole.state)


def test_killing_a_writer_at_any_moment_leaves_a_whole_file(whole, tmp_path):
    path = tmp_path / "fit.safetensors"
    for delay_s in (0.0, 0.002, 0.005, 0.011, 0.017):
        write_snapshots(path, whole)
        child = os.fork()
        if not child:
            while True:
                write_snapshots(path, whole)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert same(read_snapshots(path), whole)


def test_other_inputs_are_refused_by_name(fit_inputs, tmp_path):
    path = tmp_path / "fit.safetensors"
    image = fit_inputs.latents
    list(keep_snapshots(fit_tail(*fit_inputs, CONFIG), path, 4, fit_identity(CONFIG, image=image, prompt="a dog")))
    other = fit_identity(dataclasses.replace(CONFIG, seed=9), image=image + 1, prompt="a dog")
    message = "belongs to a fit with another image, seed; repeat the earlier inputs to resume it, or delete it"
    with pytest.raises(SnapshotError, match=message):
        find_snapshots(path, other)
    assert find_snapshots(path, fit_identity(CONFIG, image=image.clone(), prompt="a dog"))
    assert find_snapshots(tmp_path / "none.safetensors", other) is None


def test_snapshots_travel_as_bytes(fit_inputs, whole):
    *_, (_, last) = follow(fit_tail(*fit_inputs, CONFIG), IDENTITY, every=4)
    assert same(parse_snapshots(serialize_snapshots(last)), whole)
    *_, (_, last) = follow(fit_tail(*fit_inputs, CONFIG), IDENTITY)
    assert same(last, dataclasses.replace(whole, tails={}))
    with pytest.raises(SnapshotError, match=r"checkpoint is no snapshot file: .*; delete it"):
        parse_snapshots(serialize_snapshots(last)[:-1])
    with pytest.raises(SnapshotError, match="checkpoint belongs to a fit with another model;"):
        check_identity(last, fit_identity(CONFIG, model="other"))


def test_a_missing_folder_is_an_error(fit_inputs, tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        list(keep_snapshots(fit_tail(*fit_inputs, CONFIG), tmp_path / "no" / "fit.safetensors", 4, IDENTITY))


def test_no_snapshot_yet_is_a_file_too(fit_inputs, tmp_path):
    path = tmp_path / "fit.safetensors"
    fit = keep_snapshots(fit_tail(*fit_inputs, FitConfig()), path, 100, IDENTITY)
    next(fit), next(fit), fit.close()
    assert read_snapshots(path).tails == {} and read_snapshots(path).state.best_step == 2


def changed(path, **tensors):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({**load_file(path), **tensors}, path, metadata)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"extra": torch.zeros(1)}, "it is wrong about extra"),
        ({"tail": torch.zeros(5, 12, dtype=torch.float16)}, "tail is F16 instead of F32"),
        ({"adam_mean": torch.zeros(4, 12)}, "adam_mean has the shape .4, 12., which does not match the others"),
        ({"adam_square": torch.full((5, 12), torch.nan)}, "adam_square has values that are not finite"),
        ({"losses": torch.zeros(9, dtype=torch.float64)}, "losses has the shape"),
        ({"step": torch.tensor([10])}, "step has the shape"),
        ({"snapshot_steps": torch.tensor([8, 4])}, "snapshot_steps does not rise from 1 to at most 10"),
        ({"held_out_steps": torch.tensor([3, 6, 9, 11])}, "held_out_steps does not rise from 1 to at most 10"),
        ({"generator": torch.zeros(5056, dtype=torch.uint8)}, "generator is no state of a random generator"),
    ],
)
def test_a_wrong_file_is_an_error(whole, tmp_path, tensors, message):
    path = tmp_path / "fit.safetensors"
    write_snapshots(path, whole)
    changed(path, **tensors)
    with pytest.raises(SnapshotError, match=f"is no snapshot file: {message}.*; delete it to fit from the start"):
        read_snapshots(path)


def test_a_file_of_another_kind_is_an_error(tmp_path):
    save_file({"tail": torch.zeros(5, 12)}, tmp_path / "dog.safetensors")
    with pytest.raises(SnapshotError, match="it is wrong about adam_mean, adam_square"):
        read_snapshots(tmp_path / "dog.safetensors")
    with pytest.raises(SnapshotError, match="is no snapshot file"):
        read_snapshots(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_does_anything_but_load_or_raise(whole, tmp_path, data):
    path = tmp_path / "damaged.safetensors"
    content = bytearray((tmp_path / "whole.safetensors").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, header - 1) | st.integers(0, len(content) - 1))
        content[where] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        found = read_snapshots(path)
    except SnapshotError:
        return
    assert found.state.step == len(found.losses)
