"""What do edits over HTTP cost, and how many does a server bear: hiper-serve, batches of whole requests, diffusers?

python -m benchmarks.serve BUNDLE

The scenarios are MLPerf Inference's: SingleStream asks when the last picture is there; Offline asks for everything at
once; Server asks at random times (Poisson), ever more often, as long as 99 of 100 pictures come within a bound, or all
where a play has fewer than a hundred. MLPerf wants ten minutes a scenario; these are shorter, and the record says how
many edits each figure rests on, and whether the search found a rate that was too high.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.record import RECORDS, describe, fail_if, write_record
from benchmarks.servers import scenarios
from benchmarks.servers.contest import Contestant, Pictures, is_exact
from benchmarks.servers.process import EXACT, OURS, SERVERS, USUAL, Served, Setup
from benchmarks.servers.scenarios import STEPS, Plan
from benchmarks.servers.wishes import guidance_scale_of, make_wishes
from engine.bundle_files import read_manifest

QUESTION = "Latency and throughput of edits over HTTP with many tails, and what HTTP and processes add to the engine"


def measure(names: Sequence[str], setup: Setup, plan: Plan, errors: dict[str, str]) -> dict[str, Any]:
    """Play all scenarios to all servers in turns; each has a process of its own, which is idle while others work.

    Args:
        names: of the servers; with the pictures of the first one all others are compared.
        setup: what they paint with.
        plan: how much.
        errors: takes what went wrong, by server.

    Raises:
        RuntimeError: the first server failed, so that nothing can be compared.
    """
    manifest = read_manifest(Path(setup.bundle))
    bodies = make_wishes(manifest, plan.edits, plan.steps)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contest = _start(names, setup, bodies, folder, stack, errors)
        batches: dict[str, Any] = {}
        with scenarios.counted(contest, "SingleStream", batches):
            single = scenarios.single_stream(contest, setup, plan, manifest, folder, errors)
        with scenarios.counted(contest, "Offline", batches):
            offline = scenarios.offline(contest, plan)
        with scenarios.counted(contest, "Server", batches):
            timed = scenarios.server(contest, plan, {name: found["edits_per_s"] for name, found in offline.items()})
        errors |= {name: complaint for name, one in contest.items() if (complaint := one.complaint())}
        return {
            **single,
            "Offline": offline,
            **timed,
            "batches": batches,
            "start": {name: {"first_answer_s": one.served.first_answer_s} for name, one in contest.items()},
            "pictures": {
                name: {"precision": setup.precision_of(name), "worst_psnr_db": one.worst_db}
                for name, one in contest.items()
            },
        }


def _start(
    names: Sequence[str], setup: Setup, bodies: list[bytes], folder: Path, stack: ExitStack, errors: dict[str, str]
) -> dict[str, Contestant]:
    contest: dict[str, Contestant] = {}
    reference: Pictures | None = None
    for name in names:
        try:
            served = stack.enter_context(Served(name, setup, folder))
            contest[name] = Contestant(served, is_exact(name, setup), bodies, reference)
        except RuntimeError as error:
            if reference is None:
                raise RuntimeError(f"nothing can be compared, since {name} failed: {error}") from error
            errors[name] = describe(error)
        else:
            reference = reference or contest[name].pictures
    return contest


def main(
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made")],
    model: Annotated[
        str | None, typer.Option(help="what it was exported from; what the bundle says if left out")
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(SERVERS)}; all but {EXACT} if not given; the first is the reference"),
    ] = None,
    runtime: str = "auto",
    precision: Annotated[str, typer.Option(help="exact or fast")] = "fast",
    edits: Annotated[int, typer.Option(help="different edits; all at once in Offline", min=2)] = Plan.edits,
    rounds: Annotated[int, typer.Option(help="edits of SingleStream", min=1)] = Plan.rounds,
    offline_rounds: Annotated[int, typer.Option(help="of Offline", min=1)] = Plan.offline_rounds,
    seconds: Annotated[float, typer.Option(help="of arrivals in a play of Server", min=0.1)] = Plan.seconds,
    probes: Annotated[int, typer.Option(help="plays of Server that look for the bound, each", min=1)] = Plan.probes,
    bound_ms: Annotated[float, typer.Option(help="for 99 of 100 pictures", min=1)] = Plan.bound_ms,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure servers and write a record to benchmarks/records; exits with 1 if one failed."""
    names, manifest = server or list(USUAL), read_manifest(bundle)
    if unknown := set(names) - set(SERVERS):
        raise typer.BadParameter(f"there is no server {min(unknown)!r}; use some of {', '.join(SERVERS)}")
    setup = Setup(model or manifest.model_id, str(bundle.absolute()), runtime, precision)
    plan = Plan(edits, STEPS, rounds, offline_rounds, seconds, probes, bound_ms)
    errors: dict[str, str] = {}
    results = measure(names, setup, plan, errors)
    settings = {
        "model": manifest.model_id,
        "image_size": manifest.image_size,
        "guidance_scale": guidance_scale_of(manifest),
        "servers": names,
        "runtime": runtime,
        "precision": precision,
        **asdict(plan),
    }
    name = f"serve-{Path(manifest.model_id).name}"
    path = write_record(name, QUESTION, settings, results, records, model_digest=manifest.model_digest, errors=errors)
    Console().print(*tables(results), f"record: {path}")
    fail_if(errors)


def tables(results: Mapping[str, Any]) -> list[Table]:
    """The figures of a record."""
    shown = Table("scenario", "server", "edits/s", "p50 ms", "p95 ms", "p99 ms", "slowest ms", "of edits")
    for scenario in ("Offline", "same load", "Server"):
        for name, found in results[scenario].items():
            numbers = (_number(found.get(f"{which}_ms")) for which in ("p50", "p95", "p99", "slowest"))
            rate = "at least " * found.get("at_least", False) + f"{found['edits_per_s']:.2f}"
            shown.add_row(scenario, name, rate, *numbers, str(found.get("edits", 0)))
    single = Table("SingleStream", "ms per edit", "precision", "worst picture, dB")
    for name, found in results["SingleStream"].items():
        picture = results.get("pictures", {}).get(name)
        facts = (picture["precision"], f"{picture['worst_psnr_db']:.1f}") if picture else ("", "")
        single.add_row(name, f"{found['median_ms']:.1f}", *facts)
    for name, found in results.get("overhead", {}).items():
        single.add_row(f"{OURS}, {name}", f"{found['median_ms']:.2f}")
    return [single, shown]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    typer.run(main)
