"""How many devices do so many users need? Simulated with measured times.

python -m benchmarks.capacity RECORD... --users 1000

The records are those of benchmarks.rows and benchmarks.edit on the device in question. With one of benchmarks.serve,
the simulation is compared with it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.capacity.costs import Measured, choose
from benchmarks.capacity.planning import Crowd, devices_needed, load_curve, most_per_s, within
from benchmarks.capacity.replay import COMPARED, replay
from benchmarks.capacity.simulation import Costs
from benchmarks.record import RECORDS, write_record
from benchmarks.report.records import RecordError, read_records

QUESTION = "Latency of edits over load, and devices for a crowd, simulated with measured step times and random arrivals"
_COLUMNS = ("busy", "rows a call", "p50 ms", "p95 ms", "p99 ms", "refused")


def plan(measured: Measured, costs: Costs, crowd: Crowd, edits: int, seed: int) -> dict[str, Any]:
    """All figures of a record; `edits` is how many each device gets in a simulation."""
    return {
        "costs": costs.means(),
        "most_edits_per_s": most_per_s(costs, crowd.steps),
        "one device": load_curve(costs, crowd, edits, seed),
        "devices": devices_needed(costs, crowd, edits, seed),
        "against the server": replay(measured, costs) if measured.serve else {},
    }


def main(
    record: Annotated[list[Path], typer.Argument(help="records, or folders of them; the newest of each kind counts")],
    users: Annotated[int, typer.Option(help="how many there are", min=1)],
    edits_per_hour: Annotated[float, typer.Option(help="of each user", min=0.001)] = Crowd.edits_per_hour,
    steps: Annotated[int, typer.Option(help="of an edit", min=1)] = Crowd.steps,
    p99_ms: Annotated[float, typer.Option(help="within which 99 of 100 pictures must come", min=1)] = Crowd.p99_ms,
    way: Annotated[str | None, typer.Option(help="of the records; needed if they have several in common")] = None,
    text_ms: Annotated[
        float | None, typer.Option(help="of a prompt that is new to the server; the record's are not", min=0)
    ] = None,
    edits: Annotated[int, typer.Option(help="that each device gets in a simulation", min=200)] = 1000,
    seed: Annotated[int, typer.Option(help="of arrivals and draws")] = 0,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw; needs Matplotlib")] = None,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Simulate, and write a record."""
    try:
        measured = choose(read_records(record), way)
        costs = measured.costs(text_ms)
        crowd = Crowd(users, edits_per_hour, steps, p99_ms, measured.outside_ms)
        results = plan(measured, costs, crowd, edits, seed)
    except (RecordError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    sources = (measured.rows, measured.edit, measured.serve)
    model = Path(str(measured.rows.settings["model"])).name
    settings = {
        **asdict(crowd),
        "model": model,
        "way": measured.way,
        "text_ms": text_ms,
        "edits": edits,
        "seed": seed,
        "records": [source.path.name for source in sources if source],
        "buckets": [*costs.step_ms],
    }
    path = write_record(
        f"capacity-{model}", QUESTION, settings, results, records, model_digest=measured.rows.model_digest
    )
    if picture is not None:
        from benchmarks.capacity.plot import picture as draw

        draw(results["one device"], results["devices"], p99_ms).savefig(picture, dpi=100)
    Console().print(*tables(results), _answer(results, crowd), f"record: {path}")


def tables(results: Mapping[str, Any]) -> list[Table]:
    """The figures of a record."""
    loads = Table(
        "edits/s", "of most", "busy", "rows a call", "p50 ms", "p95 ms", "p99 ms", "refused", title="one device"
    )
    for one in results["one device"]:
        loads.add_row(f"{one['arrivals_per_s']:.2f}", f"{one['load']:.0%}", *_cells(one))
    devices = Table("devices", *_COLUMNS, title="all users")
    for one in results["devices"]:
        devices.add_row(str(one["devices"]), *_cells(one))
    shown = [loads, devices]
    if results["against the server"]:
        beside = Table("scenario", "figure", "measured", "simulated", "off", title="against the server")
        for scenario, found in results["against the server"].items():
            for name in COMPARED:
                values = (found["measured"][name], found["simulated"][name])
                beside.add_row(scenario, name, *map(_number, values), _share(found["off"][name]))
        shown.append(beside)
    return shown


def _cells(one: Mapping[str, Any]) -> list[str]:
    latencies = [_number(one[f"p{percent}_ms"]) for percent in (50, 95, 99)]
    return [f"{one['busy']:.0%}", f"{one['rows_per_call']:.1f}", *latencies, str(one["refused"])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"


def _answer(results: Mapping[str, Any], crowd: Crowd) -> str:
    needed = next(one["devices"] for one in results["devices"] if within(one, crowd.p99_ms))
    most = results["most_edits_per_s"]
    return (
        f"{crowd.users} users, {crowd.edits_per_s:.2f} edits/s of {crowd.steps} steps: {needed} device"
        f"{'s keep' if needed > 1 else ' keeps'} p99 within {crowd.p99_ms:g} ms; one does at most {most:.2f} edits/s"
    )


if __name__ == "__main__":
    typer.run(main)
