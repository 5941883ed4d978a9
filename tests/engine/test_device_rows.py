"""Oracle: the same edits on the host. CUDA, its streams and the row kernel are doubles, idle until waited for."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine import device_rows, row_memory
from engine.device_rows import DeviceRows
from engine.row_memory import HostRows, RowShapes, place_beside
from engine.rows import RowBatch, RowEdit
from engine.runtimes import TensorInfo
from engine.runtimes.cuda import Stream
from engine.runtimes.device_buffer import DeviceBuffer
from engine.runtimes.device_network import DeviceNetwork
from engine.schedule import NoiseSchedule, step_table
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]

LATENTS, PROMPT = (4, 2, 3), (7, 5)
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
FLOAT = np.dtype(np.float32)
INPUTS = {"sample": LATENTS, "timestep": (), "encoder_hidden_states": PROMPT}


def unet(sample: Any, timestep: Any, encoder_hidden_states: Any) -> Any:
    text = encoder_hidden_states.mean(axis=(1, 2))[:, None, None, None]
    return np.tanh(
        np.roll(sample, 1, axis=-1) + np.float32(3) * text + (timestep / np.float32(1000))[:, None, None, None]
    )


class Recorded:
    """The UNet above on a double's memory, in the order of its stream."""

    def __init__(self, gpu: SimpleNamespace, stream: Stream, inputs: Any) -> None:
        rows = inputs["sample"].shape[0]
        self.outputs = {"out_sample": DeviceBuffer((rows, *LATENTS), FLOAT)}
        self._gpu, self._stream, self._inputs = gpu, stream, inputs

    def launch(self) -> None:
        self._gpu.cuda.streams[int(self._stream)].run(self._work)

    def _work(self) -> None:
        found = {name: self._view(array.address, array.shape) for name, array in self._inputs.items()}
        buffer = self.outputs["out_sample"]
        self._view(buffer.address, buffer.host.shape)[:] = unet(**found)

    def _view(self, address: int, shape: tuple[int, ...]) -> Any:
        return self._gpu.cuda._view(address, FLOAT)[: int(np.prod(shape))].reshape(shape)


@pytest.fixture
def network(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> DeviceNetwork:
    monkeypatch.setattr(row_memory, "has_cuda_kernels", lambda: True)
    monkeypatch.setattr(device_rows, "advance_on_device", gpu.cuda.advance_rows)
    infos = tuple(TensorInfo(name, FLOAT, (None, *shape)) for name, shape in INPUTS.items())
    stream = Stream(0)
    outputs = (TensorInfo("out_sample", FLOAT, (None, *LATENTS)),)
    return DeviceNetwork(infos, outputs, stream, lambda inputs: Recorded(gpu, stream, inputs))


def edits(count: int) -> list[RowEdit]:
    made = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        noise, cond, uncond = (random.standard_normal(size).astype(np.float32) for size in (LATENTS, PROMPT, PROMPT))
        solver = ("ddim", "dpmpp_2m", "euler")[seed % 3]
        table = step_table(NoiseSchedule(ALPHAS, "epsilon"), solver, 3 + seed % 4)  # type: ignore[arg-type]
        made.append(RowEdit(noise, cond, uncond, table, guidance_scale=seed % 3 + 1.0))
    return made


def play(batch: RowBatch, call: Any, seed: int) -> list[Any]:
    """Edits that join, pause and leave at random; latents and estimates after every turn."""
    random, waiting, under_way, seen, answer = np.random.default_rng(seed), edits(9), [], [], None
    while waiting or under_way:
        while waiting and len(under_way) < 4:
            under_way.append(waiting.pop())
            batch.join(under_way[-1])
        if random.random() < 0.1:
            batch.leave(under_way.pop(random.integers(len(under_way))))
        chosen = [one for one in under_way if not one.done and random.random() < 0.6]
        inputs = batch.turn(answer, chosen)
        seen += [array for one in under_way for array in (batch.latents(one), batch.x0(one))]
        for one in [one for one in under_way if one.done and one not in chosen]:
            under_way.remove(one)
            batch.leave(one)
        answer = call(inputs) if chosen else None
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_edits_on_a_gpu_are_those_on_the_host(network: DeviceNetwork, seed: int) -> None:
    host = play(RowBatch(LATENTS, PROMPT, [1, 2, 4, 8], 4), lambda inputs: unet(**inputs), seed)
    place = place_beside(network)
    batch = RowBatch(LATENTS, PROMPT, [1, 2, 4, 8], 4, place.memory)
    device = play(batch, lambda inputs: place.call(inputs)["out_sample"], seed)
    assert place.on_gpu
    assert len(host) == len(device) > 40
    for ours, theirs in zip(device, host, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_step_copies_only_its_numbers(network: DeviceNetwork, gpu: SimpleNamespace) -> None:
    place = place_beside(network)
    batch = RowBatch(LATENTS, PROMPT, [8], 4, place.memory)
    pair = edits(3)[1:]
    for one in pair:
        batch.join(one)
    answer, copied = None, []
    for _ in range(3):
        before = gpu.cuda.copied_bytes
        answer = place.call(batch.turn(answer, pair))["out_sample"]
        copied.append(gpu.cuda.copied_bytes - before)
    rows, step = sum(one.rows for one in pair), 48
    assert copied == [2 * step + rows * 4 * 7 * 5, 2 * step, 2 * step]


def test_a_host_array_is_not_rewritten_while_it_is_copied(network: DeviceNetwork) -> None:
    rows = DeviceRows(RowShapes(LATENTS, PROMPT, 2, 2), network.stream)
    first, second = (np.full(LATENTS, value, np.float32) for value in (1, 2))
    rows.start(0, first)
    rows.start(0, second)
    rows.start(1, first)
    assert (rows.latents(0) == 2).all() and (rows.latents(1) == 1).all() and (rows.x0(0) == 0).all()


def test_memory_goes_back(network: DeviceNetwork, gpu: SimpleNamespace) -> None:
    rows = DeviceRows(RowShapes(LATENTS, PROMPT, 2, 2), network.stream)
    assert len(gpu.cuda.live) == 12
    del rows
    assert not gpu.cuda.live


def test_without_kernels_rows_stay_on_the_host(network: DeviceNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_memory, "has_cuda_kernels", lambda: False)
    place = place_beside(network)
    assert place.memory is HostRows and not place.on_gpu
    batch = RowBatch(LATENTS, PROMPT, [2], 2, place.memory)
    one = edits(2)[1]
    batch.join(one)
    np.testing.assert_array_equal(place.call(inputs := batch.turn(None, [one]))["out_sample"], unet(**inputs))
