"""What the files of a subject are called."""

from __future__ import annotations

import re
from pathlib import Path

from engine.tail_file import SUFFIX


def tail_path(folder: Path, stem: str) -> Path:
    """Of the subject `stem`."""
    return folder / f"{stem}{SUFFIX}"


def subject_stem(tail: Path) -> str:
    """The subject's name in that of its tail file."""
    return tail.name.removesuffix(SUFFIX)


def snapshots_path(tail: Path) -> Path:
    """The snapshots beside a tail."""
    return tail.with_name(f"{subject_stem(tail)}.snapshots.safetensors")


def slug(text: str) -> str:
    """The letters and digits of a prompt as part of a file name: "A sitting dog!" becomes "a-sitting-dog"."""
    return "-".join(re.findall(r"\w+", text.lower()))[:60].strip("-") or "edit"
