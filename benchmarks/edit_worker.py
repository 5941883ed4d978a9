"""One way to make an edit, in a process of its own: says when its first picture is there, then times edits on demand.

A process for each, since libraries in one process share memory, caches and threads. It imports what its way needs.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ways import Job, Made, open_way


def main(way: str, job: str, picture: str) -> None:
    """Make the first picture, then one more for every line on stdin."""
    opened = open_way(way, Job(**json.loads(job)))
    first = opened.make()
    np.save(picture, first.picture)
    _answer({"resident_bytes": resident_bytes(), "path": opened.path, **_facts(first)})
    for _ in sys.stdin:
        start = time.perf_counter()
        made = opened.make()
        _answer({"edit_ms": 1e3 * (time.perf_counter() - start), **_facts(made)})


def resident_bytes() -> int:
    """Memory of this process that is in RAM, libraries included."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


def _facts(made: Made) -> dict[str, Any]:
    return {"timings": {**asdict(made.timings), "other_ms": made.timings.other_ms}}


def _answer(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
