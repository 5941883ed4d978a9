"""What strace saw of a server: the files that its processes opened to write, made, moved, removed or started."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CALL = re.compile(r"^\d+\s+(?:<\.\.\. )?(\w+)(?: resumed>)?\((.*)$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CHANGES = re.compile(
    r"creat|mkdir(at)?|rmdir|rename(at2?)?|unlink(at)?|(sym)?link(at)?|mknod(at)?|truncate|f?chmod(at2?)?|"
    r"l?chown|fchownat|utime(s|nsat)?|futimesat|l?(set|remove)xattr|mount|umount2|pivot_root|chroot"
)
_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)")


class Call(NamedTuple):
    """A call that names files; `changes` if it could change something."""

    name: str
    paths: tuple[str, ...]
    changes: bool
    line: str


def tracing(output: Path) -> tuple[str, ...]:
    """The command that a server is started behind; the tracer stays out of its family."""
    return (
        "strace",
        "-D",
        "-f",
        "-qq",
        "-y",
        "-s",
        "4096",
        "-e",
        "trace=%file",
        "-e",
        "signal=none",
        "-o",
        str(output),
    )


def why_no_trace(folder: Path) -> str:
    """Why nothing can be traced here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    found = subprocess.run([*tracing(folder / "probe"), "true"], capture_output=True, text=True)
    return found.stderr.strip() if found.returncode or not (folder / "probe").exists() else ""


def calls(output: Path) -> Iterator[Call]:
    """All of them, those that failed included."""
    for line in output.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None or " resumed>" in line:
            continue
        name, rest = match.groups()
        paths = tuple(_STRING.findall(rest))
        opens = name in ("open", "openat", "openat2")
        changes = bool(_WRITES.search(_STRING.sub("", rest))) if opens else bool(_CHANGES.fullmatch(name))
        yield Call(name, paths, changes, line)
