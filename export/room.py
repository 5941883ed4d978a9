"""Whether disk and memory will do, before an hour has been spent finding out."""

import shutil
from pathlib import Path
from typing import Final

from torch import nn

from engine.errors import OutputError

_MARGIN_BYTES: Final = 64 * 2**20
_MEMINFO: Final = Path("/proc/meminfo")


def weight_bytes(module: nn.Module) -> int:
    """Size of a network's weights as they are."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def check_room(folder: Path, disk_bytes: int, memory_bytes: int) -> None:
    """Refuse an export that would run out of disk or memory.

    Args:
        folder: where the bundle goes; it need not exist yet.
        disk_bytes: of the bundle.
        memory_bytes: beyond what is taken already.

    Raises:
        OutputError: there is less; the message says what was found and wanted.
    """
    existing = next(parent for parent in folder.absolute().parents if parent.is_dir())
    _check(
        "of disk", disk_bytes + _MARGIN_BYTES, shutil.disk_usage(existing).free, f"choose a folder outside {existing}"
    )
    available = _available_memory_bytes()
    if available is not None:
        _check("of memory", memory_bytes + _MARGIN_BYTES, available, "close other programs, or use a larger machine")


def _check(what: str, wanted: int, found: int, remedy: str) -> None:
    if found < wanted:
        sizes = f"about {wanted / 2**30:.1f} GiB {what}, there are {found / 2**30:.1f} GiB"
        raise OutputError(f"the export needs {sizes}; {remedy}")


def _available_memory_bytes() -> int | None:
    """Linux tells; elsewhere nobody does without another package."""
    if not _MEMINFO.is_file():
        return None
    line = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
    return 1024 * int(line.split()[1])
