"""Writes a file whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path

from engine.errors import OutputError


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`; whatever happens in between, the file there is the old one or the new one.

    Raises:
        OutputError: the folder is missing, may not be written, or has no space left.
    """
    path = Path(path)
    unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        _write_to_disk(unfinished, data)
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; name a folder that exists and has room") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _write_to_disk(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power failure; only POSIX lets a program sync a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
