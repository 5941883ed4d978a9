"""Oracle: every edit alone, in a loop that reads like its formula; a row must never notice its neighbours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engine import row_kernels
from engine.rows import RowBatch, RowEdit
from engine.schedule import NoiseSchedule, Solver, step_table

LATENTS, PROMPT = (4, 2, 3), (7, 5)
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
SOLVERS: list[Solver] = ["ddim", "dpmpp_2m", "euler"]


@pytest.fixture(autouse=True, params=["installed kernels", "NumPy"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "NumPy":
        monkeypatch.setattr(row_kernels, "_MISSING", "hidden by a test")


def unet(sample: Any, timestep: Any, encoder_hidden_states: Any) -> Any:
    """A row of the answer depends on that row of every input."""
    text = encoder_hidden_states.mean(axis=(1, 2))[:, None, None, None]
    time = (timestep / np.float32(1000))[:, None, None, None]
    return np.tanh(np.roll(sample, 1, axis=-1) + np.float32(3) * text + time)


def edit(seed: int, steps: int = 5, solver: Solver = "ddim", scale: float = 3.0, **options: Any) -> RowEdit:
    random = np.random.default_rng(seed)
    return RowEdit(
        noise=random.standard_normal(LATENTS).astype(np.float32),
        cond=random.standard_normal(PROMPT).astype(np.float32),
        uncond=random.standard_normal(PROMPT).astype(np.float32),
        table=step_table(NoiseSchedule(ALPHAS, "epsilon"), solver, steps),
        guidance_scale=scale,
        **options,
    )


def alone(edit: RowEdit) -> Any:
    latents, x0_prev = edit.noise * np.float32(edit.table.noise_scale), np.zeros_like(edit.noise)
    start, end = edit.guidance_interval
    for step, timestep in enumerate(edit.table.timesteps):
        p_x, p_m, k_x, k_0, k_1 = edit.table.coefficients[step]
        answer = unet(latents[None], timestep[None], edit.cond[None])[0]
        if edit.guidance_scale > 1 and start <= step / len(edit.table) < end:
            negative = unet(latents[None], timestep[None], edit.uncond[None])[0]
            answer = negative + np.float32(edit.guidance_scale) * (answer - negative)
        x0 = p_x * latents + p_m * answer
        latents, x0_prev = k_x * latents + k_0 * x0 + k_1 * x0_prev, x0
    return latents


def run_together(batch: RowBatch, edits: Sequence[RowEdit]) -> list[Any]:
    for one in edits:
        batch.join(one)
    out_sample = None
    while inputs := batch.turn(out_sample, [one for one in edits if not one.done]):
        if len(inputs["sample"]) == 0:
            break
        out_sample = unet(**inputs)
    return [batch.latents(one) for one in edits]


def mixture() -> list[RowEdit]:
    return [
        edit(0, steps=5, solver="ddim"),
        edit(1, steps=9, solver="dpmpp_2m", scale=7.5),
        edit(2, steps=3, solver="euler", scale=1.0),
        edit(3, steps=9, solver="euler", scale=2.0, guidance_interval=(0.2, 0.7)),
        edit(4, steps=1, solver="dpmpp_2m"),
    ]


def test_a_mixture_equals_every_edit_alone() -> None:
    edits = mixture()
    for ours, one in zip(run_together(RowBatch(LATENTS, PROMPT), edits), edits, strict=True):
        np.testing.assert_array_equal(ours, alone(one))


@pytest.mark.parametrize("seed", range(20))
def test_joining_leaving_and_pausing_at_any_step_changes_nothing(seed: int) -> None:
    """Every turn, a random choice of the edits gets rows; some are given up and others take their slots."""
    random = np.random.default_rng(seed)
    batch, waiting, under_way, finished = (
        RowBatch(LATENTS, PROMPT, [1, 2, 4, 8], max_edits=4),
        mixture() + mixture(),
        [],
        0,
    )
    out_sample = None
    while waiting or under_way:
        while waiting and len(under_way) < 4:
            under_way.append(waiting.pop())
            batch.join(under_way[-1])
        if random.random() < 0.05:
            batch.leave(under_way.pop(random.integers(len(under_way))))
        chosen = [one for one in under_way if not one.done and random.random() < 0.5]
        inputs = batch.turn(out_sample, chosen)
        for one in [one for one in under_way if one.done and one not in chosen]:
            np.testing.assert_array_equal(batch.latents(one), alone(one))
            under_way.remove(one)
            batch.leave(one)
            finished += 1
        out_sample = unet(**inputs)
    assert finished > 3


def test_a_poisoned_edit_spoils_only_itself() -> None:
    edits, poisoned = mixture(), edit(9, steps=9)
    poisoned.cond[-1] = np.nan
    *clean, spoiled = run_together(RowBatch(LATENTS, PROMPT), [*edits, poisoned])
    assert np.isnan(spoiled).all()
    for ours, one in zip(clean, edits, strict=True):
        np.testing.assert_array_equal(ours, alone(one))


def test_rows_and_buckets() -> None:
    batch = RowBatch(LATENTS, PROMPT)
    edits = [edit(seed, steps=4, scale=scale) for seed, scale in enumerate([2.0, 1.0, 2.0])]
    for one in edits:
        batch.join(one)
    inputs = batch.turn(None, edits)
    assert [one.rows for one in edits] == [2, 1, 2]
    assert {name: array.shape for name, array in inputs.items()} == {
        "sample": (8, *LATENTS),
        "timestep": (8,),
        "encoder_hidden_states": (8, *PROMPT),
    }
    for row, embedding in enumerate([edits[0].uncond, edits[0].cond, edits[1].cond, edits[2].uncond, edits[2].cond]):
        np.testing.assert_array_equal(inputs["encoder_hidden_states"][row], embedding)
        assert inputs["timestep"][row] == edits[0].table.timesteps[0]
    assert not any(array[5:].any() for array in inputs.values())
    inputs = batch.turn(unet(**inputs), edits[1:2])
    np.testing.assert_array_equal(inputs["encoder_hidden_states"], edits[1].cond[None])
    inputs = batch.turn(unet(**inputs), [])
    assert len(inputs["sample"]) == 0


def test_one_bucket_gives_every_call_its_shape() -> None:
    batch, one = RowBatch(LATENTS, PROMPT, [8]), edit(0)
    batch.join(one)
    assert len(batch.turn(None, [one])["sample"]) == 8


def test_vacated_rows_hold_nothing_of_the_edit_that_left() -> None:
    batch, stays, leaves = RowBatch(LATENTS, PROMPT), edit(0, scale=1.0), edit(1)
    for one in (stays, leaves):
        batch.join(one)
    answer = unet(**batch.turn(None, [stays, leaves]))
    batch.leave(leaves)
    answer = unet(**batch.turn(answer, [stays]))
    joins = edit(2)
    batch.join(joins)
    inputs = batch.turn(answer, [stays, joins])
    assert not any(array[3].any() for array in inputs.values())


def test_the_estimate_of_the_clean_latents_follows_each_step() -> None:
    batch, one = RowBatch(LATENTS, PROMPT), edit(0, steps=2, scale=1.0)
    batch.join(one)
    assert not batch.x0(one).any()
    inputs = batch.turn(None, [one])
    answer = unet(**inputs)
    batch.turn(answer, [one])
    p_x, p_m, *_ = one.table.coefficients[0]
    np.testing.assert_array_equal(batch.x0(one), p_x * one.noise + p_m * answer[0])


def test_too_much_is_refused() -> None:
    batch = RowBatch(LATENTS, PROMPT, [2], max_edits=2)
    edits = [edit(0), edit(1)]
    for one in edits:
        batch.join(one)
    with pytest.raises(ValueError, match="2 edits are under way, as many as there may be; let one leave first"):
        batch.join(edit(2))
    with pytest.raises(ValueError, match="the edits take 4 rows but a call has at most 2; leave some out"):
        batch.turn(None, edits)
    for buckets in ([4, 2], [0, 2], [1], []):
        with pytest.raises(ValueError, match=r"buckets are \[.*\]; use growing numbers, and room for the 2 rows"):
            RowBatch(LATENTS, PROMPT, buckets)
