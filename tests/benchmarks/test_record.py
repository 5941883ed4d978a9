"""Timings with a clock that the test turns; records read back."""

import json
import subprocess

import pytest

from benchmarks.record import FORMAT, ROOT, interleave, summary, write_record


def test_cases_are_timed_in_turns():
    calls, now = [], [0.0]

    def case(name, seconds):
        def call():
            calls.append(name)
            now[0] += seconds

        return call

    cases = {"a": case("a", 1), "b": case("b", 2), "c": case("c", 3)}
    samples = interleave(cases, rounds=4, clock=lambda: now[0])
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert samples == {"a": [1e3] * 4, "b": [2e3] * 4, "c": [3e3] * 4}


def test_a_summary_is_the_median_and_keeps_every_sample():
    assert summary([4.0, 1.0, 100.0, 2.0, 3.0]) == {
        "median_ms": 3.0,
        "quartiles_ms": [1.5, 52.0],
        "samples_ms": [4.0, 1.0, 100.0, 2.0, 3.0],
    }
    assert summary([7.0])["median_ms"] == 7.0


def test_a_record_tells_where_its_figures_come_from(tmp_path):
    path = write_record("test", "How fast?", {"rounds": 2}, {"latency_ms": [1.5, 2.5]}, tmp_path / "records")
    record = json.loads(path.read_text())
    assert path.name.startswith("test-") and path.suffix == ".json"
    assert (record["format"], record["question"]) == (FORMAT, "How fast?")
    assert record["settings"] == {"rounds": 2} and record["results"] == {"latency_ms": [1.5, 2.5]}
    assert record["hardware"]["cpu"] and record["hardware"]["cores"] >= 1 and record["hardware"]["memory_bytes"] > 1e8
    assert {"python", "system", "torch"} <= record["versions"].keys()
    assert record["command"][0] == "python"


def test_a_record_names_its_commit(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    git = subprocess.run(["git", "log", "-1", "--format=%H"], cwd=ROOT, capture_output=True, text=True, check=True)
    record = json.loads(write_record("test", "", {}, {}, tmp_path).read_text())
    assert record["commit"] == git.stdout.strip() and isinstance(record["dirty"], bool)


def test_a_figure_that_is_no_number_is_not_recorded(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_record("test", "", {}, {"latency_ms": float("nan")}, tmp_path)
    assert not list(tmp_path.iterdir())
