"""Oracles: records with round numbers, of which the answers can be worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.capacity import __main__ as command
from benchmarks.capacity.costs import choose
from benchmarks.capacity.planning import Crowd, devices_needed, load_curve, most_per_s, within
from benchmarks.capacity.replay import replay
from benchmarks.capacity.simulation import Costs
from benchmarks.report.build import compose
from benchmarks.report.records import Record, RecordError, read_records
from benchmarks.servers.rates import rate_of

DIGEST = "d" * 64
STEP_MS = {1: 10.0, 2: 12.0, 3: 99.0, 4: 16.0}
PLAY = {"arrivals_per_s": rate_of(5), "edits_per_s": 3.0, "p50_ms": 100.0, "p95_ms": 200.0, "p99_ms": None}


def write(folder: Path, kind: str, results: Any, digest: str = DIGEST, **settings: Any) -> Path:
    content = {"format": "hiper.record/2", "name": f"{kind}-toy", "time": "2026-11-24T12:00:00+00:00"}
    content |= {"model_digest": digest, "hardware": {}, "versions": {}, "results": results}
    path = folder / f"{kind}-toy-20261124T120000Z.json"
    path.write_text(json.dumps(content | {"settings": {"model": "toy", **settings}}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tails = {count: {"distinct": {"samples_ms": [ms]}} for count, ms in STEP_MS.items()}
    write(tmp_path, "rows", {"openvino": tails, "onnxruntime": tails})
    stages = {"text_ms": [0.0], "decode_ms": [4.0]}
    write(tmp_path, "edit", {"openvino": {"stages": stages}, "diffusers": {"stages": stages}})
    return tmp_path


def write_serve(folder: Path, digest: str = DIGEST) -> None:
    results = {
        "Offline": {"hiper-serve": {"edits_per_s": 8.0, "p50_ms": 100.0, "p95_ms": 200.0, "p99_ms": 200.0}},
        "Server": {"hiper-serve": {"plays": [PLAY]}},
        "overhead": {"outside engine": {"median_ms": 5.0}},
    }
    write(folder, "serve", results, digest, edits=4, steps=[10, 20], seconds=4.0)


def records(folder: Path) -> list[Record]:
    return read_records([folder])


def test_costs_are_those_of_the_records_at_whole_buckets(folder: Path) -> None:
    measured = choose(records(folder))
    assert measured.way == "openvino" and measured.outside_ms == 0
    assert measured.costs() == Costs({2: (10.0,), 4: (12.0,), 8: (16.0,)}, (0.0,), (4.0,))
    assert measured.costs(text_ms=7).text_ms == (7,)
    write_serve(folder)
    assert choose(records(folder)).outside_ms == 5


def test_records_that_do_not_belong_together_are_refused(folder: Path) -> None:
    with pytest.raises(RecordError, match=r"^way onnxruntime is not in both records but openvino is; choose among"):
        choose(records(folder), "onnxruntime")
    with pytest.raises(RecordError, match=r"^there is no edit record; measure with: python -m benchmarks\.edit"):
        choose([record for record in records(folder) if record.kind == "rows"])
    write_serve(folder, "e" * 64)
    with pytest.raises(RecordError, match=r"rows-toy-\w+\.json are of different weights; name records of one model$"):
        choose(records(folder))


def test_a_way_is_named_where_there_are_several(folder: Path) -> None:
    stages = {"text_ms": [0.0], "decode_ms": [4.0]}
    write(folder, "edit", {"openvino": {"stages": stages}, "onnxruntime": {"stages": stages}})
    with pytest.raises(RecordError, match=r"^the records have openvino, onnxruntime in common; choose one with --way$"):
        choose(records(folder))
    assert choose(records(folder), "onnxruntime").way == "onnxruntime"


def test_full_calls_bound_what_a_device_can_do() -> None:
    costs = Costs({2: [10.0], 8: [20.0]}, [1.0], [4.0])
    # Four edits in 30 steps of 20 ms, and 5 ms each by itself.
    assert most_per_s(costs, 30) == pytest.approx(4 / (30 * 0.020 + 4 * 0.005))
    loads = load_curve(costs, Crowd(1, steps=30, outside_ms=2.0), edits=300)
    assert [one["load"] for one in loads] == sorted(one["load"] for one in loads)
    assert loads[0]["p50_ms"] == pytest.approx(30 * 10 + 5 + 2)
    assert loads[0]["p99_ms"] <= loads[5]["p99_ms"] <= loads[-1]["p99_ms"] and loads[-1]["rows_per_call"] > 5
    # Busy for less than all of the time and for more than the best case takes.
    assert all(one["load"] < one["busy"] < 1 for one in loads[:6])


def test_as_many_devices_as_the_bound_takes() -> None:
    costs = Costs({2: [10.0]})
    crowd = Crowd(users=3600, edits_per_hour=20.0, steps=1, p99_ms=1000.0)
    assert crowd.edits_per_s == 20
    assert [one["devices"] for one in devices_needed(costs, crowd, 300)] == [1, 2, 3]
    busy = Crowd(users=3600, edits_per_hour=350.0, steps=1, p99_ms=30.0)
    tried = devices_needed(costs, busy, 300)
    assert [one["devices"] for one in tried] == [*range(4, 4 + len(tried))] and len(tried) > 3
    assert [within(one, 30.0) for one in tried] == [False] * (len(tried) - 3) + [True] * 3


def test_a_bound_that_an_edit_alone_breaks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^an edit alone takes 305 ms but 99 of 100 must come within 100 ms"):
        devices_needed(Costs({2: [10.0]}, decode_ms=[5.0]), Crowd(10, p99_ms=100.0), 100)


def test_the_scenarios_of_a_server_are_played_again(folder: Path) -> None:
    write_serve(folder)
    measured = choose(records(folder))
    found = replay(measured, measured.costs())
    assert [*found] == ["Offline", "Server at 3.05/s"]
    # Ten steps for four edits, then ten for the two that have twenty; pictures of the first two come in between.
    short_ms = 10 * 16 + 2 * 4
    long_ms = short_ms + 10 * 12 + 2 * 4
    offline = found["Offline"]["simulated"]
    assert offline["p50_ms"] == short_ms + 5 and offline["slowest_ms"] == long_ms + 5
    assert offline["edits_per_s"] == pytest.approx(4e3 / (long_ms + 5))
    assert found["Offline"]["off"]["p50_ms"] == pytest.approx((short_ms + 5) / 100 - 1)
    assert found["Server at 3.05/s"]["off"]["p99_ms"] is None


def test_the_command_answers_and_writes_record_and_picture(folder: Path) -> None:
    app = command.typer.Typer()
    app.command()(command.main)
    write_serve(folder)
    arguments = [str(folder), "--users", "600", "--edits", "200", "--picture", str(folder / "plan.png")]
    done = CliRunner().invoke(app, [*arguments, "--records", str(folder / "out")])
    assert done.exit_code == 0, done.output
    assert "600 users, 3.33 edits/s of 30 steps: 1 device" in " ".join(done.output.split())
    [written] = read_records([folder / "out"])
    assert written.name == "capacity-toy" and written.settings["records"][0] == "rows-toy-20261124T120000Z.json"
    assert written.results["costs"] == {"step_ms": {"2": 10, "4": 12, "8": 16}, "text_ms": 0, "decode_ms": 4}
    assert [*written.results][1:] == ["most_edits_per_s", "one device", "devices", "against the server"]
    devices, loads, against = compose([written])[2][0].blocks
    assert [row[0] for row in devices.rows] == ["1", "2", "3"] and devices.rows[0][-1] == "200"
    assert len(loads.rows) == 10 and loads.rows[0][-2:] == ["0", "200"]
    assert against.rows[1][:2] == ["Offline: p50 ms", "100"]
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")
    refused = CliRunner().invoke(app, [*arguments, "--way", "tensorrt"])
    assert refused.exit_code == 1 and "way tensorrt is not in both records" in refused.output + str(refused.exception)
