"""Oracles: the formulas of queueing theory, and the real batcher with networks that move a clock of their own."""

import math
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.capacity.simulation import Costs, Device, Edit, poisson, simulate
from engine.batcher import Batcher, Call
from engine.bundle import Bundle, open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
from tests.engine.conftest import write_toy_bundle

MANY = 10**9


def mean_wait_ms(rate_per_ms: float, service_ms: np.ndarray) -> float:
    """Pollaczek and Khinchine's, of a queue with one server and Poisson arrivals."""
    load = rate_per_ms * service_ms.mean()
    return float(rate_per_ms * (service_ms**2).mean() / (2 * (1 - load)))


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_a_batch_of_one_with_equal_edits_is_a_queue_with_fixed_service(load: float) -> None:
    edits = poisson(load / 10 * 1e3, 20_000, [1], seed=1)
    [device] = simulate(edits, Costs({2: [10.0]}), max_edits=MANY)
    waits = [edit.latency_ms - 10 for edit in edits]
    assert min(waits) > -1e-6
    assert np.mean(waits) == pytest.approx(10 * load / (2 * (1 - load)), rel=0.06)
    assert {*device.rows} == {2}


def test_a_batch_of_one_with_random_steps_is_a_queue_with_exponential_service() -> None:
    random, load, mean_steps = np.random.default_rng(2), 0.5, 20
    steps = random.geometric(1 / mean_steps, 8000)
    edits = poisson(load / mean_steps * 1e3, len(steps), [*map(int, steps)], seed=3)
    simulate(edits, Costs({2: [1.0]}), max_edits=MANY)
    found = np.array([edit.latency_ms for edit in edits])
    assert found.mean() == pytest.approx(mean_steps / (1 - load), rel=0.1)
    assert found.mean() - steps.mean() == pytest.approx(mean_wait_ms(load / mean_steps, steps), rel=0.1)
    # All of it is exponential, not just its mean.
    assert np.quantile(found, 0.95) == pytest.approx(-math.log(0.05) * mean_steps / (1 - load), rel=0.12)


def test_drawn_step_times_are_those_of_the_samples() -> None:
    edits = [Edit(0.0, 4000)]
    [device] = simulate(edits, Costs({2: [1.0, 2.0, 6.0]}))
    assert device.busy_ms == pytest.approx(4000 * 3, rel=0.03) and edits[0].end_ms == device.busy_ms


def test_arrivals_find_as_many_as_littles_law_says() -> None:
    rate_per_s, costs = 25.0, Costs({2: [4.0], 4: [5.0], 8: [8.0], 16: [14.0]}, [1.0], [3.0])
    edits = poisson(rate_per_s, 2000, [10, 20], seed=4)
    device, found = Device(costs, np.random.default_rng(0), MANY), []
    for edit in edits:
        device.run_until(edit.arrival_ms)
        found.append(device.under_way(edit.arrival_ms))
        device.accept(edit)
    device.run_until(math.inf)
    # Poisson arrivals see time averages (Wolff 1982).
    expected = rate_per_s / 1e3 * np.mean([edit.latency_ms for edit in edits])
    assert np.mean(found) == pytest.approx(expected, rel=0.05) and expected > 2


@pytest.mark.parametrize("devices", [1, 3])
def test_a_device_is_busy_for_what_its_edits_demand(devices: int) -> None:
    edits = poisson(30.0, 3000, [7], seed=5)
    fleet = simulate(edits, Costs({2: [2.0]}, [1.5], [4.5]), devices, max_edits=MANY)
    assert sum(device.busy_ms for device in fleet) == pytest.approx(3000 * (7 * 2 + 6))


def test_two_choices_are_better_than_one_and_worse_than_a_single_queue() -> None:
    def mean_latency_ms(edits: list[Edit], devices: int, step_ms: float) -> float:
        simulate(edits, Costs({2: [step_ms]}), devices, max_edits=MANY)
        return float(np.mean([edit.latency_ms for edit in edits]))

    together = mean_latency_ms(poisson(4 * 80.0, 12_000, [1], seed=6), 4, 10.0)
    apart = 10 + 10 * 0.8 / (2 * (1 - 0.8))
    one_four_times_as_fast = 2.5 + 2.5 * 0.8 / (2 * (1 - 0.8))
    assert one_four_times_as_fast < together < 0.75 * apart


def test_a_full_device_refuses_and_serves_the_others() -> None:
    edits = [Edit(0.0, 2, user=str(user)) for user in range(5)]
    simulate(edits, Costs({2: [10.0], 4: [15.0]}), max_edits=3)
    assert [edit.end_ms for edit in edits] == [30.0, 30.0, 50.0, math.inf, math.inf]


class VirtualTime:
    """A clock that the networks of a bundle move on once it plays; whoever arrives meanwhile is submitted meanwhile."""

    def __init__(self, bundle: Bundle, costs: Costs, edits: list[Edit]) -> None:
        self.now_ms = 0.0
        self.ends_ms: dict[int, float] = {}
        self._edits, self._submitted = edits, 0
        self._over = threading.Event()
        self._batcher: Batcher | None = None
        for name, cost in (("unet", costs.step_ms), ("decoder", costs.decode_ms), ("text_encoder", costs.text_ms)):
            bundle.__dict__[name] = _Taking(getattr(bundle, name), cost, self)

    def spend(self, milliseconds: float) -> None:
        if self._batcher is None:
            return
        self.now_ms += milliseconds
        while self._submitted < len(self._edits) and self._edits[self._submitted].arrival_ms <= self.now_ms:
            self._submit()

    def play(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._submit()
        assert self._over.wait(30)

    def _submit(self) -> None:
        index = self._submitted
        edit, self._submitted = self._edits[index], index + 1
        self.now_ms = max(self.now_ms, edit.arrival_ms)
        request = EditRequest(f"a dog {index}", num_inference_steps=edit.steps)
        self._batcher.submit(request, user=edit.user).add_done_callback(partial(self._note_end, index))

    def _note_end(self, index: int, _: object) -> None:
        self.ends_ms[index] = self.now_ms
        if len(self.ends_ms) == len(self._edits):
            self._over.set()
        elif len(self.ends_ms) == self._submitted:
            self._submit()


class _Taking:
    def __init__(self, network: Any, cost: Any, clock: VirtualTime) -> None:
        self._network, self._cost, self._clock = network, cost, clock
        self.inputs = network.inputs

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        [milliseconds] = self._cost[len(inputs["sample"])] if isinstance(self._cost, dict) else self._cost
        answer = self._network(inputs)
        self._clock.spend(milliseconds)
        return answer


@pytest.mark.parametrize(("rate_per_s", "users"), [(5.0, 1000), (60.0, 1000), (200.0, 3)])
def test_simulated_calls_and_latencies_are_the_real_batchers(tmp_path: Path, rate_per_s: float, users: int) -> None:
    costs = Costs({2: [4.0], 4: [5.5], 8: [9.0]}, [1.25], [3.0])
    random = np.random.default_rng(7)
    edits = poisson(rate_per_s, 60, [*map(int, random.integers(1, 12, 60))], seed=8)
    for edit, user in zip(edits, random.integers(users, size=60), strict=True):
        edit.user = str(user)
    [device] = simulate(edits, costs)

    write_toy_bundle(tmp_path)
    bundle, calls = open_bundle(tmp_path, "onnxruntime"), list[Call]()
    clock = VirtualTime(bundle, costs, edits)
    editor = Editor(bundle, buckets=sorted(costs.step_ms))
    # The negative prompt is the same for all, and encoded once.
    editor._prompts.encode("")
    with Batcher(editor, calls.append) as batcher:
        clock.play(batcher)
    assert [call.rows for call in calls] == device.rows
    assert [clock.ends_ms[index] for index in range(60)] == pytest.approx([edit.end_ms for edit in edits])
