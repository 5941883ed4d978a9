"""What is installed here, what for, and which command adds the rest."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import itertools
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from engine.runtimes import RUNTIMES

PURPOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fit": "fit and edit, in PyTorch",
        "menagerie": "draw the animals of Menagerie",
        "export": "write ONNX bundles",
        "serve": "edit and serve without PyTorch",
        "cuda": "run on NVIDIA GPUs by ONNX Runtime",
        "tensorrt": "run on NVIDIA GPUs by TensorRT",
        "xformers": "another attention kernel on NVIDIA GPUs",
        "ray": "serve from several machines, and do whole tables",
        "shared-store": "keep what several servers share",
        "bench": "measure and report",
        "bench-peers": "measure OpenVINO GenAI too",
        "bench-images": "judge edits of photographs",
    }
)
_NATIVE: Final = "engine._native"


@dataclass(frozen=True)
class Capability:
    """Something HiPer can do where certain packages are installed.

    Attributes:
        name: of the extra that brings them, or "native".
        purpose: what for.
        installed: versions by package.
        missing: packages.
        remedy: the command that adds what is missing; "" where nothing is.
    """

    name: str
    purpose: str
    installed: Mapping[str, str]
    missing: tuple[str, ...]
    remedy: str


def capabilities() -> list[Capability]:
    """Every extra of HiPer as its own package metadata declares it, and the native part."""
    return [*(_extra(name) for name in PURPOSES), _native()]


def machine() -> dict[str, Any]:
    """The software and hardware under it."""
    return {
        "hiper": _version("hiper") or "not installed",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
    }


def execution(latent_size: int) -> dict[str, str]:
    """Device, dtype and attention that a model of this latent size will get; a "problem" instead without PyTorch."""
    try:
        from hiper.execution import Execution, resolve
    except ImportError as error:
        return {"problem": f"{error.name} is missing; run: pip install 'hiper[fit]'"}
    resolved = resolve(Execution("auto", "auto", "auto"), latent_size)
    return {"device": resolved.device, "dtype": resolved.dtype, "attention": resolved.attention}


def runtimes() -> dict[str, str]:
    """What each runtime of bundles needs: the versions that are here, or the command that adds them."""
    return {name: _versions_or_remedy(packages.split()) for name, (_, packages) in RUNTIMES.items()}


def _versions_or_remedy(packages: list[str]) -> str:
    versions = {package: _version(package) for package in packages}
    if None in versions.values():
        return f"pip install {' '.join(packages)}"
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def _extra(name: str) -> Capability:
    packages = list(dict.fromkeys(_packages(name)))
    versions = {package: _version(package) for package in packages}
    missing = tuple(package for package, version in versions.items() if version is None)
    remedy = f"pip install 'hiper[{name}]'" if missing else ""
    return Capability(name, PURPOSES[name], {p: v for p, v in versions.items() if v is not None}, missing, remedy)


def _packages(extra: str) -> Iterator[str]:
    """The packages of an extra; one that is HiPer itself with other extras brings theirs."""
    for requirement in importlib.metadata.requires("hiper") or ():
        match = re.match(r'([\w.-]+)(?:\[([\w.,-]+)\])?.*;.*extra == "([\w.-]+)"', requirement)
        if match and match[3] == extra:
            others = match[2].split(",") if match[1] == "hiper" else []
            yield from itertools.chain.from_iterable(map(_packages, others)) if others else [match[1]]


def _native() -> Capability:
    found = importlib.util.find_spec(_NATIVE)
    return Capability(
        name="native",
        purpose="fused row kernels in C++; NumPy does their work without",
        installed={_NATIVE: Path(found.origin or "").name} if found else {},
        missing=() if found else (_NATIVE,),
        remedy="" if found else "install a C++ compiler and CMake, then HiPer again",
    )


def _version(package: str) -> str | None:
    for name in (package, f"{package}-gpu"):  # onnxruntime-gpu brings all that onnxruntime does
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def _processor() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or "unknown"
