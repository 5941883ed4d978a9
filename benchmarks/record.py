"""Timings that can be trusted, and the JSON record that lets a reader repeat them."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
FORMAT = "hiper.record/1"
PACKAGES = ("torch", "diffusers", "transformers", "xformers", "numpy", "onnxruntime", "openvino", "tensorrt")


def interleave(
    cases: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1, clock: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """Time several cases in turns, so that whatever else the machine does meets them all alike.

    Args:
        cases: names and what to time; on a GPU each must wait for its result.
        rounds: samples per case; every round starts with another case.
        warm_up: untimed calls of each case before the first round.
        clock: seconds; `time.perf_counter` if not given.

    Returns:
        Milliseconds per call, by name, in the order of the rounds.
    """
    clock = clock or time.perf_counter
    for _ in range(warm_up):
        for call in cases.values():
            call()
    samples: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = clock()
            cases[name]()
            samples[name].append((clock() - start) * 1e3)
    return samples


def summary(samples_ms: list[float]) -> dict[str, Any]:
    """Median, quartiles and the raw samples, in milliseconds."""
    low, median, high = statistics.quantiles(samples_ms, n=4) if len(samples_ms) > 1 else samples_ms * 3
    return {"median_ms": median, "quartiles_ms": [low, high], "samples_ms": samples_ms}


def write_record(
    name: str, question: str, settings: Mapping[str, Any], results: Mapping[str, Any], folder: Path = RECORDS
) -> Path:
    """Write what was asked, what was found, and where, to `folder`/NAME-TIME.json.

    Args:
        name: of the file: the script, and the model it ran on.
        question: that the script answers, in one sentence.
        settings: of this run.
        results: figures with their units in their names, and the raw samples behind them.
        folder: is made if missing.

    Returns:
        The path of the record.
    """
    now = datetime.now(UTC)
    record = {
        "format": FORMAT,
        "question": question,
        "time": now.isoformat(timespec="seconds"),
        "command": ["python", *sys.orig_argv[1:]],
        **source(),
        "hardware": hardware(),
        "versions": versions(),
        "settings": dict(settings),
        "results": dict(results),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    return path


def source() -> dict[str, Any]:
    """The commit that ran, and whether files differed from it."""
    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}
    return {"commit": _output("git", "rev-parse", "HEAD"), "dirty": bool(_output("git", "status", "--porcelain"))}


def hardware() -> dict[str, Any]:
    """Processor, the cores this process may use and how busy they are, memory, and NVIDIA GPUs."""
    fields = ("name", "memory.total", "driver_version", "power.limit", "clocks.max.sm")
    gpus = _output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader").splitlines()
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "omp_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_average": os.getloadavg()[0],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [dict(zip(fields, gpu.split(", "), strict=True)) for gpu in gpus],
    }


def versions() -> dict[str, str]:
    """Python, the kernel, and those of PACKAGES that are installed."""
    installed = {package.metadata["Name"].lower(): package.version for package in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: installed[name] for name in PACKAGES if name in installed},
    }


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def _output(*command: str) -> str:
    """What a command prints; nothing where the program is not installed."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
