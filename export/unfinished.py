"""A folder that appears whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engine.bundle_files import MANIFEST_NAME
from engine.errors import OutputError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_bundle(folder: Path) -> bool:
    """Tell whether a folder is what `hiper-export` wrote."""
    return (folder / MANIFEST_NAME).is_file()


@contextmanager
def unfinished_folder(
    folder: Path, force: bool, what: str = "bundle", is_one: Callable[[Path], bool] = is_bundle
) -> Iterator[Path]:
    """Give a hidden folder beside the wanted one; it takes its name when the block ends without an error.

    Args:
        folder: the wanted one; its parent is made.
        force: replace what is there, at the end.
        what: the only thing that may be replaced.
        is_one: tells whether what is there is such a thing.

    Raises:
        OutputError: the name is taken, what is there is something else, or the disk refuses.
    """
    folder = folder.absolute()
    if folder.exists() and not force:
        raise OutputError(f"{folder} exists already; choose another folder, or replace it with --force")
    if folder.exists() and not is_one(folder):
        raise OutputError(f"{folder} is no {what}, --force replaces nothing else; choose another folder")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    ours = True
    try:
        unfinished.mkdir(parents=True)
        ours = False  # the block reads too, and what fails there is not the writing
        yield unfinished
        ours = True
        _sync(unfinished)
        _take_name(unfinished, folder)
    except OSError as error:
        if not ours and error.errno not in _FULL:
            raise
        raise OutputError(f"cannot write {folder}: {error.strerror}; name a folder with room") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in filter(Path.is_file, folder.rglob("*")):
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _take_name(unfinished: Path, folder: Path) -> None:
    """Rename; a folder in the way is moved aside first, since a rename replaces only empty folders."""
    old = folder.with_name(f"{unfinished.name}.old")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(unfinished, folder)
    finally:
        if old.exists() and not folder.exists():
            os.rename(old, folder)
    shutil.rmtree(old, ignore_errors=True)
