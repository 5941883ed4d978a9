"""Timings that can be trusted, and the JSON record that lets a reader repeat them."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import bootstrap
from benchmarks.machine import hardware, output, versions
from engine.atomic_file import write_atomically

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
# Of version 1, records lack `name`, `errors`, `model_digest`, intervals and warm-ups; both are read.
FORMAT = "hiper.record/2"
FORMATS = ("hiper.record/1", FORMAT)

# What cannot change a measurement makes no checkout dirty.
_HARMLESS = (":!benchmarks/records", ":!docs", ":!*.md")


@dataclass(frozen=True)
class Samples:
    """Durations of one case, in milliseconds.

    Attributes:
        warm_up_ms: of the calls before the first round, which no figure counts.
        timed_ms: in the order of the rounds.
    """

    warm_up_ms: list[float]
    timed_ms: list[float]


def interleave(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] | None = None,
    errors: dict[str, str] | None = None,
) -> dict[str, Samples]:
    """Time several cases in turns, so that whatever else the machine does meets them all alike.

    Args:
        cases: names and what to time; on a GPU each must wait for its result.
        rounds: samples per case; every round starts with another case.
        warm_up: calls of each case before the first round.
        clock: seconds; `time.perf_counter` if not given.
        errors: takes the message of each case that raises, which is then left out; without it, what is raised ends all.

    Returns:
        Samples by name.
    """
    clock = clock or time.perf_counter
    samples = {name: Samples([], []) for name in cases}
    warm_ups = [name for _ in range(warm_up) for name in cases]
    for turn, name in enumerate([*warm_ups, *in_turns(list(cases), rounds)]):
        if name not in samples:
            continue
        taken = samples[name].warm_up_ms if turn < len(warm_ups) else samples[name].timed_ms
        start = clock()
        try:
            cases[name]()
        except Exception as error:
            if errors is None:
                raise
            errors[name] = describe(error)
            del samples[name]
        else:
            taken.append((clock() - start) * 1e3)
    return samples


def in_turns(names: Sequence[str], rounds: int) -> list[str]:
    """Every name once a round; each round starts with another."""
    starts = (turn % len(names) for turn in range(rounds))
    return [name for start in starts for name in [*names[start:], *names[:start]]]


def describe(error: BaseException) -> str:
    """An error as a record keeps it: its kind and its first lines."""
    return f"{type(error).__name__}: {error}"[:1000]


def summary(samples: Samples) -> dict[str, Any]:
    """Median with its 95 % interval, quartiles and the raw samples, in milliseconds."""
    timed = samples.timed_ms
    low, median, high = statistics.quantiles(timed, n=4) if len(timed) > 1 else timed * 3
    interval = bootstrap.median(timed)
    return {
        "median_ms": median,
        "interval_ms": [interval.low, interval.high],
        "quartiles_ms": [low, high],
        "samples_ms": timed,
        "warm_up_ms": samples.warm_up_ms,
    }


def fail_if(errors: Mapping[str, str]) -> None:
    """End a script with exit code 1 where a side failed, naming each: a record with a side missing is no success.

    Raises:
        SystemExit: there are errors.
    """
    if errors:
        raise SystemExit("\n".join(f"error: {side} failed: {reason}" for side, reason in errors.items()))


def write_record(
    name: str,
    question: str,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    folder: Path = RECORDS,
    *,
    model_digest: str | None = None,
    errors: Mapping[str, str] | None = None,
) -> Path:
    """Write what was asked, what was found, and where, to `folder`/NAME-TIME.json.

    Args:
        name: of the file: the script, and the model it ran on.
        question: that the script answers, in one sentence.
        settings: of this run.
        results: figures with their units in their names, and the raw samples behind them.
        folder: is made if missing.
        model_digest: of the weights; None where they are random, or there is no model.
        errors: sides that crashed or took another path than asked, with the reason.

    Returns:
        The path of the record.
    """
    now = datetime.now(UTC)
    record = {
        "format": FORMAT,
        "name": name,
        "question": question,
        "time": now.isoformat(timespec="seconds"),
        "command": ["python", *sys.orig_argv[1:]],
        **source(),
        "model_digest": model_digest,
        "hardware": hardware(),
        "versions": versions(),
        "settings": dict(settings),
        "results": dict(results),
        "errors": dict(errors or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    write_atomically(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    return path


def source() -> dict[str, Any]:
    """The commit that ran, and whether files differed from it that could change a measurement."""
    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}
    changed = output("git", "status", "--porcelain", "--", ".", *_HARMLESS, folder=ROOT)
    return {"commit": output("git", "rev-parse", "HEAD", folder=ROOT), "dirty": bool(changed)}
