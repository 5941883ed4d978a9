"""Real processes on a bundle of a few operators; oracles: answers with known latencies, and the reference sampler."""

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import generate_latest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from benchmarks import serve
from benchmarks.record import Samples
from benchmarks.servers import batches, contest, rates, scenarios
from benchmarks.servers.client import Answer, play
from benchmarks.servers.locked_pipeline import LockedPipeline
from benchmarks.servers.process import Served, Setup
from benchmarks.servers.rival import create_app
from benchmarks.servers.scenarios import BARE, Plan
from benchmarks.servers.wishes import make_wishes
from engine.bundle_files import read_manifest
from engine.edit_request import EditRequest
from engine.server.messages import UnetCall
from engine.server.metrics import Metrics
from engine.tail_file import TailFile
from engine.tail_info import TailInfo
from hiper.images import to_uint8
from hiper.models import load_model
from hiper.sample import draw_noise, sample
from hiper.tail import splice
from tests.engine.conftest import write_toy_bundle

TINY = Plan(edits=4, steps=(2, 3), rounds=2, offline_rounds=2, seconds=0.2, probes=2, bound_ms=60_000.0)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    folder = tmp_path / "toy"
    folder.mkdir()
    write_toy_bundle(folder)
    return Setup("toy", str(folder), "onnxruntime", "exact")


def wish(setup: Setup) -> bytes:
    return make_wishes(read_manifest(Path(setup.bundle)), 1, [2])[0]


def answers(*latencies_ms: float, status: int = 200, begin_s: float = 0.0) -> list[Answer]:
    return [Answer(latency, begin_s + latency / 1e3, status, b"") for latency in latencies_ms]


def test_servers_are_played_in_turns_and_a_dead_one_is_an_error(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios.rates, "first_rung", lambda offline_per_s: 10)
    errors: dict[str, str] = {}
    found = serve.measure(["whole-requests", "hiper-serve", "diffusers"], setup, TINY, errors)
    ours = ["whole-requests", "hiper-serve"]
    assert [*errors] == ["diffusers"] and errors["diffusers"].startswith("RuntimeError: diffusers was never ready: ")
    assert [*found["SingleStream"]] == [*ours, BARE] and [*found["Offline"]] == [*found["Server"]] == ours
    assert [len(one["samples_ms"]) for one in found["SingleStream"].values()] == [2, 2, 2]
    assert [*found["pictures"].values()] == [{"precision": "exact", "worst_psnr_db": 100}] * 2
    for name in ours:
        assert [len(latencies) for latencies in found["Offline"][name]["latencies_ms"]] == [4, 4]
        assert found["same load"][name]["arrivals_per_s"] == rates.rate_of(10)
        assert [play["failures"] for play in found["Server"][name]["plays"]] == [0, 0, 0]
        assert found["Server"][name]["edits_per_s"] == rates.rate_of(12) and found["Server"][name]["at_least"]
    calls = {scenario: counted["batch_rows"]["calls"] for scenario, counted in found["batches"].items()}
    assert calls["SingleStream"] == 3 * 2 and 2 * 3 <= calls["Offline"] <= 2 * (2 + 2 + 3 + 3)
    assert found["batches"]["Offline"]["batch_distinct_tails"]["mean"] > 1
    assert found["overhead"]["outside engine"]["median_ms"] > 0
    assert serve.tables(found)[1].row_count == 3 * 2


def test_a_record_is_written_and_an_unknown_server_refused(setup: Setup, tmp_path: Path, monkeypatch: Any) -> None:
    results = {"SingleStream": {}, "Offline": {}, "same load": {}, "Server": {}}
    monkeypatch.setattr(serve, "measure", lambda names, setup, plan, errors: results)
    app = serve.typer.Typer()
    app.command()(serve.main)
    done = CliRunner().invoke(app, [setup.bundle, "--records", str(tmp_path), "--seconds", "3"])
    assert done.exit_code == 0, done.output
    record = json.loads(next(tmp_path.glob("serve-*.json")).read_text())
    assert record["settings"]["seconds"] == 3 and record["settings"]["servers"] == [*serve.USUAL]
    refused = CliRunner().invoke(app, [setup.bundle, "--server", "nginx"])
    assert refused.exit_code == 2 and "there is no server 'nginx'" in refused.output


def test_the_locked_pipeline_paints_what_the_reference_sampler_does(sd1_folder: Path) -> None:
    model = load_model(sd1_folder)
    vectors = np.random.default_rng(0).standard_normal((5, model.dim), np.float32)
    info = TailInfo("toy", "0" * 64, model.family, "epsilon", 0, "a dog", tail_strength=0.7)
    request = EditRequest("a dog", TailFile(vectors, vectors, info), seed=3, num_inference_steps=3, guidance_scale=4.0)
    painter = LockedPipeline(str(sd1_folder), "fp32")
    painted, plain = (
        asyncio.run(painter.paint(wished)).astype(int) for wished in (request, replace(request, tail=None))
    )
    painter.close()

    embedding, negative = model.encode_prompt(["a dog", ""]).split(1)
    latents = sample(
        model.unet,
        draw_noise([3], model.image_size // model.vae_factor, model.image_size // model.vae_factor),
        splice(embedding, torch.from_numpy(vectors), 0.7),
        negative,
        schedule=model.schedule,
        num_inference_steps=3,
        guidance_scale=4.0,
    )
    assert np.abs(painted - to_uint8(model.decode_latents(latents))[0]).max() <= 1
    assert np.abs(painted - plain).max() > 5


def test_a_rival_takes_the_same_request_and_nothing_else(setup: Setup) -> None:
    class Painter:
        async def paint(self, request: EditRequest) -> Any:
            assert request.tail is not None and request.tail.tail.shape[0] == 5
            return np.full((8, 4, 3), request.num_inference_steps, np.uint8)

        def close(self) -> None:
            pass

    client = TestClient(create_app(Painter()))
    answer = client.post("/v1/images/generations", content=wish(setup), headers={"content-type": "application/json"})
    assert Answer(0, 0, answer.status_code, answer.content).picture().tolist() == np.full((8, 4, 3), 2).tolist()
    assert client.post("/v1/images/generations", json={**json.loads(wish(setup)), "n": 2}).status_code == 422


def test_a_picture_that_is_another_is_noticed(setup: Setup, tmp_path: Path) -> None:
    bodies = [wish(setup)]
    with Served("whole-requests", setup, tmp_path) as served:
        first = contest.Contestant(served, True, bodies)
        assert first.complaint() == "" and first.worst_db == 100
        [answer] = play(served.address, [bodies[0].replace(b'"seed": 0', b'"seed": "x"')], [0.0])
        assert answer.status == 422
        with pytest.raises(RuntimeError, match=r"^the server answered 422 instead of 200"):
            answer.picture()
        black = [np.zeros_like(picture) for picture in first.pictures]
        with pytest.raises(RuntimeError, match=r"dB from that of the first server but must be at least 35; it"):
            contest.Contestant(served, True, bodies, black)
    [gone] = play(served.address, bodies, [0.0])
    assert (gone.status == 0 and "refused" in gone.body.decode()) or gone.body == b"the server closes every connection"


def test_what_computes_exactly() -> None:
    exact, fast = Setup("m", "b", precision="exact"), Setup("m", "b")
    assert [contest.is_exact(name, fast) for name in serve.SERVERS] == [True, False, False, False, True]
    assert [contest.is_exact(name, exact) for name in serve.SERVERS] == [True, False, True, True, True]
    assert [fast.precision_of(name) for name in serve.SERVERS] == ["fp32", "bf16", "fast", "fast", "exact"]


def test_figures_are_those_of_their_definitions() -> None:
    found = rates.figures([answers(*range(1, 101)), answers(*range(101, 201), begin_s=5.0)])
    assert (found["p50_ms"], found["p95_ms"], found["p99_ms"], found["slowest_ms"]) == (100, 190, 198, 200)
    assert found["edits_per_s"] == pytest.approx((100 / 0.1 + 100 / 0.2) / 2)
    assert rates.in_time(found, 198) and not rates.in_time(found, 197)
    failed = rates.figures([answers(1, 2, 3) + answers(5, status=503)])
    assert (failed["failures"], failed["p50_ms"], failed["slowest_ms"]) == (1, 2, None)
    assert not rates.in_time(failed, 1000) and json.dumps(failed, allow_nan=False)
    assert failed["edits_per_s"] == pytest.approx(3 / 0.005)


def test_of_few_edits_all_must_be_in_time_and_no_percentile_is_told() -> None:
    few = rates.figures([answers(*range(1, 20))])
    assert (few["p95_ms"], few["p99_ms"], few["slowest_ms"]) == (None, None, 19)
    assert rates.in_time(few, 19) and not rates.in_time(few, 18)
    assert rates.figures([answers(*range(1, 21))])["p95_ms"] == 19


def test_a_rate_is_a_least_one_where_none_was_too_high() -> None:
    quick, slow = rates.figures([answers(10.0)]), rates.figures([answers(99.0)])
    open_end = scenarios._at_bound({3: quick, 4: quick}, 3, 50.0)
    closed = scenarios._at_bound({3: quick, 4: slow}, 3, 50.0)
    assert open_end["at_least"] and not closed["at_least"]
    assert (open_end["edits_per_s"], closed["edits_per_s"]) == (rates.rate_of(4), rates.rate_of(3))


@pytest.mark.parametrize("limit", [-5, 0, 3, 4, 9])
def test_the_search_ends_at_the_last_rung_that_is_passed(limit: int) -> None:
    passed: dict[int, bool] = {}
    for _ in range(20):
        rung = rates.next_rung(3, passed)
        if rung is None:
            break
        passed[rung] = rung <= limit
    assert rung is None and rates.best_rung(passed) == limit
    assert rates.best_rung({3: False}) is None


def test_arrivals_have_the_rate_of_their_rung_and_are_the_same_for_all() -> None:
    assert rates.rate_of(rates.first_rung(10.0)) <= 7.0 < rates.rate_of(rates.first_rung(10.0) + 1)
    arrivals_s = rates.poisson_arrivals_s(10, 300.0)
    assert arrivals_s == rates.poisson_arrivals_s(10, 300.0) == sorted(arrivals_s)
    assert len(arrivals_s) / 300 == pytest.approx(rates.rate_of(10), rel=0.01)
    # Gaps of a Poisson process are exponential: as many as 1 - 1/e are shorter than their mean.
    gaps = np.diff(arrivals_s)
    assert (gaps < gaps.mean()).mean() == pytest.approx(1 - 1 / math.e, abs=0.03)


def test_batches_are_those_between_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()

    def read() -> dict[str, dict[str, float]]:
        return {
            name.removeprefix("hiper_"): found
            for name, found in batches._histograms(generate_latest(metrics.registry).decode()).items()
        }

    metrics.on_call(UnetCall(rows=2, edits=1, distinct_tails=1, bucket=2, latency_ms=1))
    before = read()
    for rows, tails in ((2, 1), (6, 3), (7, 3), (64, 32)):
        metrics.on_call(UnetCall(rows=rows, edits=tails, distinct_tails=tails, bucket=rows, latency_ms=1))
    found = batches.since(before, read())
    assert found["batch_rows"] == {"calls": 4, "mean": 79 / 4, "2": 1, "8": 2, "64": 1}
    assert found["batch_distinct_tails"] == {"calls": 4, "mean": 39 / 4, "1": 1, "4": 2, "32": 1}


def test_overhead_is_told_in_both_ways() -> None:
    told = [Answer(12.0, 0, 200, json.dumps({"timings": {"total_ms": 9.5}}).encode())] * 3
    found = scenarios.overhead(Samples([], [12.0, 13.0, 14.0]), Samples([], [10.0, 10.0, 10.0]), told)
    assert found["over bare engine"]["median_ms"] == 3 and found["over bare engine"]["differences_ms"] == [2, 3, 4]
    assert found["outside engine"]["median_ms"] == 2.5
