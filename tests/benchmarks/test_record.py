"""Timings with a clock that the test turns; records read back."""

import json
import subprocess

import pytest

from benchmarks import machine
from benchmarks import record as record_file
from benchmarks.record import FORMAT, ROOT, Samples, fail_if, interleave, summary, write_record


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
    assert samples == {name: Samples([ms], [ms] * 4) for name, ms in (("a", 1e3), ("b", 2e3), ("c", 3e3))}


def test_a_case_that_raises_is_named_and_timed_no_more():
    calls = []

    def fragile():
        calls.append("fragile")
        if len(calls) == 3:
            raise MemoryError("too little")

    errors = {}
    samples = interleave({"fragile": fragile, "sound": lambda: None}, rounds=5, errors=errors)
    assert [*samples] == ["sound"] and len(samples["sound"].timed_ms) == 5 and len(calls) == 3
    assert errors == {"fragile": "MemoryError: too little"}
    with pytest.raises(SystemExit, match=r"^error: fragile failed: MemoryError: too little$"):
        fail_if(errors)
    fail_if({})
    with pytest.raises(ZeroDivisionError):
        interleave({"fragile": lambda: 1 / 0}, rounds=1)


def test_a_summary_is_the_median_and_keeps_every_sample():
    found = summary(Samples([9.0], [4.0, 1.0, 100.0, 2.0, 3.0]))
    low, high = found.pop("interval_ms")
    assert found == {
        "median_ms": 3.0,
        "quartiles_ms": [1.5, 52.0],
        "samples_ms": [4.0, 1.0, 100.0, 2.0, 3.0],
        "warm_up_ms": [9.0],
    }
    assert 1 <= low < 3 < high <= 100
    assert summary(Samples([], [7.0]))["median_ms"] == 7.0


def test_a_record_tells_where_its_figures_come_from(tmp_path):
    path = write_record("test", "How fast?", {"rounds": 2}, {"latency_ms": [1.5, 2.5]}, tmp_path / "records")
    record = json.loads(path.read_text())
    assert path.name.startswith("test-") and path.suffix == ".json"
    assert (record["format"], record["question"]) == (FORMAT, "How fast?")
    assert record["settings"] == {"rounds": 2} and record["results"] == {"latency_ms": [1.5, 2.5]}
    assert record["hardware"]["cpu"] and record["hardware"]["cores"] >= 1 and record["hardware"]["memory_bytes"] > 1e8
    assert {"python", "system", "torch"} <= record["versions"].keys()
    assert record["command"][0] == "python" and record["name"] == "test" and record["errors"] == {}


def test_the_machine_is_described_as_linux_describes_it(tmp_path, monkeypatch):
    processor, caches = tmp_path / "cpuinfo", tmp_path / "cache"
    processor.write_text(
        "model name\t: Fast One\ncpu MHz\t\t: 2596.120\nflags\t\t: fpu amx_bf16 avx2 rdtscp\n\ncpu MHz\t\t: 800.0\n"
    )
    for index, size in enumerate(("48K", "32768K")):
        (caches / f"index{index}").mkdir(parents=True)
        (caches / f"index{index}" / "size").write_text(size + "\n")
    monkeypatch.setattr(machine, "_PROCESSOR", processor)
    monkeypatch.setattr(machine, "_CACHES", caches)
    values = "NVIDIA H100, 81559 MiB, 570.1, 700.00 W, 1980 MHz, 345 MHz, 2619 MHz, 31, 0 %"
    monkeypatch.setattr(machine, "output", lambda *command, **_: values if command[0] == "nvidia-smi" else "")
    found = machine.hardware()
    assert (found["cpu"], found["cpu_flags"], found["cpu_mhz"]) == ("Fast One", ["amx_bf16", "avx2"], [2596.12, 800.0])
    assert found["cache_bytes"] == 32 * 2**20
    assert found["gpus"] == [dict(zip(machine.GPU_FIELDS, values.split(", "), strict=True))]


def test_records_and_words_make_no_checkout_dirty(tmp_path, monkeypatch):
    def git(*command):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-qm", "One")
    monkeypatch.setattr(record_file, "ROOT", tmp_path)
    (tmp_path / "benchmarks" / "records").mkdir(parents=True)
    (tmp_path / "benchmarks" / "records" / "fit-x.json").write_text("{}")
    (tmp_path / "README.md").write_text("words")
    assert record_file.source()["dirty"] is False
    (tmp_path / "code.py").write_text("2")
    assert record_file.source()["dirty"] is True


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
