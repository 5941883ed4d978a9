"""MLPerf's scenarios, played to all servers in turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks import bootstrap
from benchmarks.record import Samples, in_turns, interleave, summary
from benchmarks.servers import rates
from benchmarks.servers.batches import read_batches, since
from benchmarks.servers.client import Answer, Client
from benchmarks.servers.contest import Contestant
from benchmarks.servers.process import OURS, Served, Setup
from benchmarks.servers.wishes import guidance_scale_of, make_wishes
from benchmarks.ways import FAST, Job
from benchmarks.worker import Worker
from engine.manifest import Manifest

BARE = "bare engine"
STEPS = (20, 40)

Contest = Mapping[str, Contestant]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        edits: different wishes, as many as Offline asks for at once.
        steps: that they have, in turns.
        rounds: of SingleStream.
        offline_rounds: of Offline.
        seconds: of arrivals in one play of Server.
        probes: plays of Server that look for the rate at the bound, of each server.
        bound_ms: within which 99 of 100 pictures must come, or all where a play has fewer.
    """

    edits: int = 24
    steps: tuple[int, ...] = STEPS
    rounds: int = 20
    offline_rounds: int = 2
    seconds: float = 10.0
    probes: int = 3
    bound_ms: float = 2000.0


@contextmanager
def counted(contest: Contest, scenario: str, batches: dict[str, Any]) -> Iterator[None]:
    """Keep what hiper-serve put into its batches meanwhile."""
    if OURS not in contest:
        yield
        return
    port = contest[OURS].served.metrics_port
    before = read_batches(port)
    yield
    batches[scenario] = since(before, read_batches(port))


def single_stream(
    contest: Contest,
    setup: Setup,
    plan: Plan,
    manifest: Manifest,
    folder: Path,
    errors: dict[str, str],
) -> dict[str, Any]:
    """One edit after the other, and the same edit without tail in an engine that no server is around."""
    steps = round(sum(plan.steps) / len(plan.steps))
    job = Job(setup.model, setup.bundle, steps, guidance_scale_of(manifest))
    bodies = make_wishes(manifest, plan.edits, [steps], job.prompt)
    answers: dict[str, list[Answer]] = {name: [] for name in contest}
    with ExitStack() as stack:
        asking = {
            name: _asking(stack.enter_context(Client(*one.served.address)), bodies, answers[name])
            for name, one in contest.items()
        }
        if OURS in contest:
            asking[BARE] = stack.enter_context(Worker(_way(contest[OURS].served), job, folder)).edit
        samples = interleave(asking, plan.rounds, errors=errors)
    found: dict[str, Any] = {"SingleStream": {name: summary(taken) for name, taken in samples.items()}}
    if OURS in samples and BARE in samples:
        found["overhead"] = overhead(samples[OURS], samples[BARE], answers[OURS][-plan.rounds :])
    return found


def overhead(ours: Samples, bare: Samples, answers: Sequence[Answer]) -> dict[str, Any]:
    """What the server adds, in two ways.

    Returns:
        Latency less the time of the bare engine in the same round, which has the noise of both; and latency less what
        the engine said it took for this very edit, which has the noise of neither but counts no time inside the engine.
    """
    differences = [served - alone for served, alone in zip(ours.timed_ms, bare.timed_ms, strict=True)]
    estimate = bootstrap.median(differences)
    outside = [answer.latency_ms - answer.content["timings"]["total_ms"] for answer in answers]
    return {
        "over bare engine": {
            "median_ms": estimate.value,
            "interval_ms": [estimate.low, estimate.high],
            "differences_ms": differences,
        },
        "outside engine": summary(Samples([], outside)),
    }


def _asking(client: Client, bodies: Sequence[bytes], answers: list[Answer]) -> Callable[[], None]:
    turns = cycle(bodies)

    def ask() -> None:
        answers.append(client.ask(next(turns)))
        if answers[-1].status != 200:
            raise RuntimeError(f"it answered {answers[-1].status}: {answers[-1].body[:200]!r}")

    return ask


def _way(served: Served) -> str:
    """The way of `benchmarks.ways` in which the server computes."""
    connection = HTTPConnection(*served.address, timeout=10)
    try:
        connection.request("GET", "/v1/info")
        info = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    runtime, fast = str(info["runtime"]), info["precision"] == "fast"
    return runtime + FAST if fast else runtime


def offline(contest: Contest, plan: Plan) -> dict[str, Any]:
    """All edits at once."""
    plays: dict[str, list[list[Answer]]] = {name: [] for name in contest}
    for name in in_turns(list(contest), plan.offline_rounds):
        plays[name].append(contest[name].play([0.0] * plan.edits))
    return {name: rates.figures(found) for name, found in plays.items()}


def server(contest: Contest, plan: Plan, offline_per_s: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """All servers at a rate that the slowest bears, then each at the rates that tell how much it bears."""
    first = {name: rates.first_rung(offline_per_s[name]) for name in contest}
    found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in contest}
    shared = min(first.values())
    for name in contest:
        found[name][shared] = rates.figures([contest[name].play(rates.poisson_arrivals_s(shared, plan.seconds))])
    for name in in_turns(list(contest), plan.probes):
        passed = {rung: rates.in_time(figures, plan.bound_ms) for rung, figures in found[name].items()}
        rung = rates.next_rung(first[name], passed) if first[name] in passed else first[name]
        if rung is not None:
            found[name][rung] = rates.figures([contest[name].play(rates.poisson_arrivals_s(rung, plan.seconds))])
    same_load = {name: {"arrivals_per_s": rates.rate_of(shared), **found[name][shared]} for name in contest}
    return {
        "same load": same_load,
        "Server": {name: _at_bound(plays, first[name], plan.bound_ms) for name, plays in found.items()},
    }


def _at_bound(plays: Mapping[int, Mapping[str, Any]], first: int, bound_ms: float) -> dict[str, Any]:
    """The figures of the highest rate that was borne, with the rate as throughput, and of each rate in short.

    `at_least` says that no rate was too high among those that there was time for.
    """
    passed = {rung: rates.in_time(figures, bound_ms) for rung, figures in plays.items()}
    best, next_rung = rates.best_rung(passed), rates.next_rung(first, passed)
    at_best = plays[best] if best is not None else {}
    short = [
        {"arrivals_per_s": rates.rate_of(rung), "in_time": passed[rung]}
        | {name: value for name, value in figures.items() if name != "latencies_ms"}
        for rung, figures in sorted(plays.items())
    ]
    borne = 0.0 if best is None else rates.rate_of(best)
    return {**at_best, "edits_per_s": borne, "at_least": next_rung is not None, "plays": short}
