"""The machine as a run found it: what a reader must know to judge a figure, or to measure it again."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "xformers",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "openvino-genai",
    "tensorrt",
)
GPU_FIELDS = (
    "name",
    "memory.total",
    "driver_version",
    "power.limit",
    "clocks.max.sm",
    "clocks.sm",
    "clocks.mem",
    "temperature.gpu",
    "utilization.gpu",
)
# Of the processor's flags, those by which libraries choose their kernels.
_KERNEL_FLAG = re.compile(r"(sse4|avx|amx|fma|f16c|asimd|sve|bf16|i8mm|fphp)\w*")
_PROCESSOR = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def hardware() -> dict[str, Any]:
    """Processor, the cores this process may use and how busy they are, caches, memory, and NVIDIA GPUs."""
    processor = _PROCESSOR.read_text()
    return {
        "cpu": _field(processor, "model name") or platform.machine(),
        "cpu_flags": [flag for flag in _flags(processor) if _KERNEL_FLAG.fullmatch(flag)],
        "cpu_mhz": [float(found) for found in re.findall(r"^cpu MHz\s*: ([\d.]+)$", processor, re.MULTILINE)],
        "cores": len(os.sched_getaffinity(0)),
        "cache_bytes": last_cache_bytes(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_average": os.getloadavg()[0],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def versions() -> dict[str, str]:
    """Python, the kernel, and those of PACKAGES that are installed."""
    installed = {package.metadata["Name"].lower(): package.version for package in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: installed[name] for name in PACKAGES if name in installed},
    }


def last_cache_bytes() -> int | None:
    """Size of the processor's largest cache; None where Linux does not say."""
    sizes = [path.read_text().strip() for path in _CACHES.glob("index*/size")]
    return max((1024 * int(size.removesuffix("K")) for size in sizes if size.endswith("K")), default=None)


def gpu_used_bytes() -> int | None:
    """Memory in use on the first NVIDIA GPU, by whomever; None without one."""
    found = output("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0")
    return int(found) * 2**20 if found else None


def output(*command: str, folder: Path | None = None) -> str:
    """What a command prints; nothing where the program is not installed."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def _gpus() -> list[dict[str, str]]:
    found = output("nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader")
    return [dict(zip(GPU_FIELDS, gpu.split(", "), strict=True)) for gpu in found.splitlines()]


def _flags(processor: str) -> list[str]:
    return sorted((_field(processor, "flags") or _field(processor, "Features")).split())


def _field(processor: str, name: str) -> str:
    found = re.search(rf"^{name}\s*: (.*)$", processor, re.MULTILINE)
    return found[1] if found else ""
