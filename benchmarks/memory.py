"""Peak memory of a piece of work, on the machine or on a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch


def peak_bytes(work: Callable[[], object], device: str) -> dict[str, int]:
    """Run `work` and say how much memory there was before and at the peak, in bytes.

    On a CPU this is the resident memory of the whole process, libraries included, as Linux counts it: measure each
    case in a process of its own, since an allocator keeps what an earlier case has used. On a GPU it is what torch
    has allocated.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return {"before_bytes": before, "peak_bytes": torch.cuda.max_memory_allocated(device)}
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = _status_bytes("VmRSS")
    work()
    return {"before_bytes": before, "peak_bytes": _status_bytes("VmHWM")}


def _status_bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
