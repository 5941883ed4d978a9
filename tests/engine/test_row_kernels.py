"""Oracles: plain Python loops for NumPy, NumPy bit by bit for C++ and CUDA, diffusers' image processor for pixels."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from hypothesis import given
from hypothesis import strategies as st

from engine import row_kernels
from engine.row_kernels import NONE, ROW_STEP, RowArrays, advance, advance_numpy, to_pixels, to_pixels_numpy

ROWS, SLOTS, SIZE = 5, 4, 12
KERNELS = [advance_numpy, advance]

native = pytest.mark.skipif(row_kernels._MISSING is not None, reason=f"no native part: {row_kernels._MISSING}")


def batch(seed: int) -> tuple[RowArrays, Any]:
    random = np.random.default_rng(seed)
    sizes = {"sample": (ROWS, SIZE), "timestep": (ROWS,), "latents": (SLOTS, SIZE), "x0": (SLOTS, SIZE)}
    arrays = {name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    return RowArrays(**arrays), random.standard_normal((ROWS, SIZE)).astype(np.float32)


def row_steps(seed: int, slots: list[int]) -> Any:
    """Each edit takes a random step; no two write to one row."""
    random = np.random.default_rng(seed)
    free = iter(random.permutation([*range(ROWS), *[NONE] * 2 * len(slots)])[: 2 * len(slots)])
    return np.array(
        [
            (slot, *random.integers(NONE, ROWS, 2), next(free), next(free), *random.standard_normal(7) * 3)
            for slot in slots
        ],
        ROW_STEP,
    )


def advance_plainly(arrays: RowArrays, out_sample: Any, steps: Any) -> None:
    for step in steps.tolist():
        slot, cond, uncond, next_cond, next_uncond, scale, p_x, p_m, k_x, k_0, k_1, timestep = step
        for i in range(SIZE):
            if cond != NONE:
                x, x0_prev, c = (float(array[i]) for array in (arrays.latents[slot], arrays.x0[slot], out_sample[cond]))
                u = float(out_sample[uncond][i])
                x0 = p_x * x + p_m * (c if uncond == NONE else u + scale * (c - u))
                arrays.x0[slot][i] = x0
                arrays.latents[slot][i] = k_x * x + k_0 * x0 + k_1 * x0_prev
            for row in {next_cond, next_uncond} - {NONE}:
                arrays.sample[row][i] = arrays.latents[slot][i]
                arrays.timestep[row] = timestep


slots = st.permutations(range(SLOTS)).flatmap(lambda order: st.integers(0, SLOTS).map(lambda count: order[:count]))


@given(seed=st.integers(0, 2**32), slots=slots)
def test_numpy_does_what_plain_loops_do(seed: int, slots: list[int]) -> None:
    (ours, out_sample), (plain, _) = batch(seed), batch(seed)
    steps = row_steps(seed, slots)
    advance_numpy(ours, out_sample, steps)
    advance_plainly(plain, out_sample, steps)
    for name in ("sample", "timestep", "latents", "x0"):
        np.testing.assert_allclose(getattr(ours, name), getattr(plain, name), rtol=1e-5, atol=1e-4)


@native
@given(seed=st.integers(0, 2**32), slots=slots, poison=st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e-42]))
def test_native_equals_numpy_bit_by_bit(seed: int, slots: list[int], poison: float) -> None:
    (ours, out_sample), (oracle, _) = batch(seed), batch(seed)
    out_sample[seed % ROWS, : SIZE // 2] = poison
    steps = row_steps(seed, slots)
    advance(ours, out_sample, steps)
    advance_numpy(oracle, out_sample, steps)
    for name in ("sample", "timestep", "latents", "x0"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(oracle, name))


@pytest.mark.parametrize("kernel", KERNELS, ids=["numpy", "installed"])
def test_an_entry_without_edit_does_nothing(kernel: Callable[..., None]) -> None:
    (arrays, out_sample), (before, _) = batch(1), batch(1)
    kernel(arrays, out_sample, np.array([(NONE, 0, 1, 2, 3, *[1.0] * 7)], ROW_STEP))
    np.testing.assert_array_equal(arrays.sample, before.sample)
    np.testing.assert_array_equal(arrays.latents, before.latents)


@pytest.mark.parametrize("kernel", KERNELS, ids=["numpy", "installed"])
@pytest.mark.parametrize("field", ["slot", "cond_row", "uncond_row", "next_cond_row", "next_uncond_row"])
def test_rows_that_are_not_there_are_refused(kernel: Callable[..., None], field: str) -> None:
    arrays, out_sample = batch(1)
    steps = np.zeros(1, ROW_STEP)
    steps[field] = 9
    with pytest.raises(IndexError):
        kernel(arrays, out_sample, steps)


@native
def test_arrays_that_do_not_agree_are_refused() -> None:
    arrays, out_sample = batch(1)
    with pytest.raises(ValueError, match="do not agree on the number of rows"):
        advance(arrays, out_sample[:, :3].copy(), np.zeros(1, ROW_STEP))
    with pytest.raises(ValueError, match="not whole"):
        row_kernels._native.advance(
            out_sample, arrays.sample, arrays.timestep, arrays.latents, arrays.x0, np.zeros(47, np.uint8)
        )
    strided = RowArrays(arrays.sample[:, ::2], arrays.timestep, arrays.latents, arrays.x0)
    with pytest.raises(TypeError):
        advance(strided, out_sample, np.zeros(1, ROW_STEP))


@pytest.mark.parametrize("kernel", [to_pixels, to_pixels_numpy], ids=["installed", "numpy"])
def test_pixels_equal_diffusers(kernel: Callable[..., Any]) -> None:
    image = torch.randn(3, 3, 24, 16, generator=torch.Generator().manual_seed(0))
    expected = np.stack([np.asarray(picture) for picture in VaeImageProcessor().postprocess(image, "pil")])
    np.testing.assert_array_equal(kernel(image.numpy()), expected)


@native
def test_pixels_equal_numpy_where_diffusers_has_no_answer() -> None:
    image = np.tile(np.array([np.nan, np.inf, -np.inf, 1e30], np.float32), (2, 3, 5, 1))
    np.testing.assert_array_equal(to_pixels(image), to_pixels_numpy(image))
    assert to_pixels(image)[0, 0, :, 0].tolist() == [0, 255, 0, 255]


def test_without_the_native_part_numpy_works_and_says_so() -> None:
    code = (
        "import sys; sys.modules['engine._native'] = None\n"
        "import numpy as np; from engine import row_kernels as kernels\n"
        "one = np.ones((1, 1), np.float32)\n"
        "arrays = kernels.RowArrays(one.copy(), one[0].copy(), one.copy(), one.copy())\n"
        "kernels.advance(arrays, one, np.array([(0, 0, -1, 0, -1, 1, 2, 3, 1, 1, 1, 7)], kernels.ROW_STEP))\n"
        "kernels.to_pixels(np.ones((1, 3, 2, 2), np.float32))\n"
        "print(arrays.sample, arrays.timestep, kernels.native_status())"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("[[7.]] [7.] NumPy does the rows' arithmetic (")
    assert result.stdout.endswith("install a C++ compiler, then HiPer again\n")


@native
def test_status_names_the_native_part() -> None:
    assert row_kernels.native_status().startswith("C++ does the rows' arithmetic, built with")


@native
@pytest.mark.gpu
@pytest.mark.parametrize("captured", [False, True])
def test_cuda_equals_numpy_bit_by_bit(captured: bool) -> None:
    module = row_kernels._native
    if not module.cuda_available():
        pytest.skip(module.cuda_status())
    oracle, out_sample = batch(3)
    names = ("sample", "timestep", "latents", "x0")
    steps = row_steps(3, [0, 1, 2, 3])
    on_gpu = {name: torch.from_numpy(getattr(oracle, name)).cuda() for name in names}
    answer, plan = torch.from_numpy(out_sample).cuda(), torch.from_numpy(steps.view(np.uint8)).cuda()

    def launch() -> None:
        addresses = [tensor.data_ptr() for tensor in (answer, *on_gpu.values(), plan)]
        module.cuda_advance(*addresses, SIZE, len(steps), torch.cuda.current_stream().cuda_stream)

    if captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
        graph.replay()
    else:
        launch()
    advance_numpy(oracle, out_sample, steps)
    for name in names:
        np.testing.assert_array_equal(on_gpu[name].cpu().numpy(), getattr(oracle, name))
