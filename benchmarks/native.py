"""Do the native row kernels compute what NumPy does, is their memory clean, and what do they save?

python -m benchmarks.native --device cuda
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.record import RECORDS, ROOT, describe, fail_if, interleave, summary, write_record
from engine.row_kernels import (
    ROW_STEP,
    Floats,
    RowArrays,
    advance,
    advance_numpy,
    advance_on_device,
    native_status,
)

QUESTION = "Time of guidance, solver step and next rows: the native kernel, and PyTorch's sequence of operations"
EDITS = (1, 4, 16)
SIZE = 4 * 64 * 64
CALLS = 100
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")


def commands(folder: Path, cuda: bool) -> Iterator[tuple[str, list[str]]]:
    """What builds the kernels' own tests and runs them, by name; without nvcc the C++ core's under its sanitizers."""
    options = ["-DHIPER_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=native"] if cuda else ["-DHIPER_SANITIZE=ON"]
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DHIPER_NATIVE=ON", *options]
    yield "configure", configure if cuda else [*configure, "-DHIPER_CUDA=OFF"]
    yield "build", ["cmake", "--build", str(folder), "--parallel"]
    yield "core", [str(folder / "rows_test")]
    if cuda:
        kernels = str(folder / "cuda_rows_test")
        yield "kernels", [kernels]
        for tool in SANITIZERS:
            yield tool, ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", kernels]


def check(folder: Path, cuda: bool, errors: dict[str, str]) -> dict[str, str]:
    """Run the commands and return the last line that each printed; one that fails goes to `errors`."""
    said: dict[str, str] = {}
    for name, command in commands(folder, cuda):
        if shutil.which(command[0]) is None:
            errors[name] = f"{command[0]} is not installed or was not built"
            continue
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said[name] = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        # The test of the CUDA kernels skips with 77 where it finds no GPU; here it may not.
        if done.returncode:
            errors[name] = f"exit code {done.returncode}: {said[name]}"
    return said


def make_batch(edits: int) -> tuple[RowArrays, Floats, NDArray[np.void]]:
    """Guided edits in the midst of their steps: arrays, the UNet's answer and the steps."""
    random = np.random.default_rng(edits)

    def draw(*shape: int) -> Floats:
        return random.standard_normal(shape, np.float32)

    arrays = RowArrays(draw(2 * edits, SIZE), draw(2 * edits), draw(edits, SIZE), draw(edits, SIZE))
    rows = [(2 * edit + 1, 2 * edit) for edit in range(edits)]
    steps = np.array(
        [(edit, *rows[edit], *rows[edit], *random.uniform(-1, 1, 6), 500 + edit) for edit in range(edits)], ROW_STEP
    )
    return arrays, draw(2 * edits, SIZE), steps


class OnDevice:
    """A batch on a device, advanced by the native kernel or by PyTorch."""

    def __init__(self, edits: int, device: str) -> None:
        arrays, out_sample, steps = make_batch(edits)
        self._steps = steps
        fields = (arrays.sample, arrays.timestep, arrays.latents, arrays.x0)
        self.sample, self.timestep, self.latents, self.x0 = (torch.tensor(field, device=device) for field in fields)
        self._out_sample = torch.tensor(out_sample, device=device)
        self._device_steps = torch.tensor(steps.view(np.uint8), device=device)
        names = ("guidance_scale", "p_x", "p_m", "k_x", "k_0", "k_1")
        self._coefficients = [torch.tensor(steps[name][:, None], device=device) for name in names]
        self._next_timestep = torch.tensor(steps["next_timestep"], device=device)

    def native(self) -> None:
        """One launch."""
        arrays = (self._out_sample, self.sample, self.timestep, self.latents, self.x0)
        if not self.sample.is_cuda:
            out_sample, *others = (array.numpy() for array in arrays)
            advance(RowArrays(*others), out_sample, self._steps)
            return
        addresses = (*(array.data_ptr() for array in arrays), self._device_steps.data_ptr())
        stream = torch.cuda.current_stream().cuda_stream
        advance_on_device(stream, *addresses, size=SIZE, count=len(self._steps))

    def in_torch(self) -> None:
        """The same for edits that are all guided, as a pipeline in PyTorch would do it."""
        guidance_scale, p_x, p_m, k_x, k_0, k_1 = self._coefficients
        uncond, cond = self._out_sample[0::2], self._out_sample[1::2]
        x0 = p_x * self.latents + p_m * (uncond + guidance_scale * (cond - uncond))
        self.latents = k_x * self.latents + k_0 * x0 + k_1 * self.x0
        self.x0 = x0
        self.sample = self.latents.repeat_interleave(2, 0)
        self.timestep = self._next_timestep.repeat_interleave(2)

    @property
    def arrays(self) -> list[Floats]:
        """What a step changes, on the host."""
        return [tensor.cpu().numpy() for tensor in (self.sample, self.timestep, self.latents, self.x0)]


def compare(edits: int, device: str) -> None:
    """Hold the kernel to NumPy bit by bit, and PyTorch to it within rounding.

    Raises:
        AssertionError: they differ.
    """
    arrays, out_sample, steps = make_batch(edits)
    advance_numpy(arrays, out_sample, steps)
    kernel, torch_ops = OnDevice(edits, device), OnDevice(edits, device)
    kernel.native()
    torch_ops.in_torch()
    expected = (arrays.sample, arrays.timestep, arrays.latents, arrays.x0)
    for ours, theirs, wanted in zip(kernel.arrays, torch_ops.arrays, expected, strict=True):
        np.testing.assert_array_equal(ours, wanted)
        np.testing.assert_allclose(theirs, wanted, rtol=1e-4, atol=1e-5)


def measure(edits: Sequence[int], device: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Time both, in turns; a sample is the mean of CALLS calls."""
    cases: dict[str, Callable[[], None]] = {}
    for count in edits:
        batch = OnDevice(count, device)
        cases[f"native {count}"] = partial(_repeat, batch.native, batch.sample)
        cases[f"torch {count}"] = partial(_repeat, OnDevice(count, device).in_torch, batch.sample)
    samples = interleave(cases, rounds)
    for found in samples.values():
        found.timed_ms[:] = [sample / CALLS for sample in found.timed_ms]
    return {name: summary(found) for name, found in samples.items()}


def _repeat(call: Callable[[], None], tensor: Tensor) -> None:
    for _ in range(CALLS):
        call()
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu for the C++ core")] = "cuda",
    folder: Annotated[Path, typer.Option(help="of the build")] = ROOT / "build" / "native",
    rounds: Annotated[int, typer.Option(help="samples of each", min=1)] = 20,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Build and check the kernels, time them, and write a record; exits with 1 if something failed."""
    errors: dict[str, str] = {}
    said = check(folder, device.startswith("cuda"), errors)
    results: dict[str, Any] = {}
    try:
        for edits in EDITS:
            compare(edits, device)
        results = measure(EDITS, device, rounds)
    except Exception as error:
        mend = "HIPER_CUDA=ON pip install --no-deps --no-build-isolation -e ."
        errors["native"] = f"{describe(error)}; {native_status()}; build it with: {mend}"
    settings = {"device": device, "rounds": rounds, "calls": CALLS, "size": SIZE, "said": said}
    path = write_record("native", QUESTION, settings, results, records, errors=errors)
    shown = Table("case", "us a step")
    for name, found in results.items():
        shown.add_row(name, f"{1e3 * found['median_ms']:.1f}")
    Console().print(shown, f"record: {path}")
    fail_if(errors)


if __name__ == "__main__":
    typer.run(main)
