"""Chooses the fastest runtime for a bundle on this machine: measured at first, remembered afterwards."""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.atomic_file import write_atomically
from engine.capped_file import read_capped
from engine.errors import BundleError, OutputError, RuntimeMissingError
from engine.manifest import Manifest
from engine.runtimes import Network, RuntimeOptions
from engine.runtimes.gpu import gpu_names

# Not ONNX Runtime with TensorRT: it would spend minutes building before it could be measured.
CANDIDATES: Final = ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime")
_PACKAGES: Final = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")
_TIME_BUDGET_S: Final = 1.0


class Choice(NamedTuple):
    """A runtime, why that one, as half a sentence, and the UNet that it has loaded."""

    runtime: str
    reason: str
    unet: Network


def choose_runtime(load: Callable[[str], Network], manifest: Manifest, options: RuntimeOptions) -> Choice:
    """Return the fastest runtime for the UNet with two rows, which is one guided edit.

    Args:
        load: loads the UNet with the runtime named.
        manifest: of the bundle.
        options: as they will be used.

    Raises:
        RuntimeMissingError: none of the candidates can run it; the message says why each cannot.
    """
    key, memory = _key(manifest, options), _memory_path()
    remembered = _recall(memory)
    if key in remembered:
        # A package that cannot be loaded, or a GPU that was taken away, does not show in the key.
        with contextlib.suppress(RuntimeMissingError):
            return _fastest(load, remembered[key], [])
    latency_ms, failures = _measure_all(load, _guided_step(manifest))
    if not failures:
        # Without a place to write to, it is measured again next time.
        with contextlib.suppress(OutputError, OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(memory, json.dumps({**remembered, key: latency_ms}, indent=1).encode())
    return _fastest(load, latency_ms, failures)


def _fastest(load: Callable[[str], Network], latency_ms: dict[str, float], failures: Sequence[str]) -> Choice:
    ranking = sorted(latency_ms.items(), key=lambda item: item[1])
    figures = ", ".join(f"{name} {value:.1f} ms" for name, value in ranking)
    reason = "; ".join([f"it was the fastest here at a UNet call of two rows: {figures}", *failures])
    return Choice(ranking[0][0], reason, load(ranking[0][0]))


def _measure_all(
    load: Callable[[str], Network], inputs: dict[str, NDArray[Any]]
) -> tuple[dict[str, float], Sequence[str]]:
    """Latencies of the candidates that run, and what happened to those that should have."""
    latency_ms, missing, failures = {}, [], []
    for runtime in CANDIDATES:
        try:
            latency_ms[runtime] = _measure(load(runtime), inputs)
        except (RuntimeMissingError, BundleError) as error:
            missing.append(str(error))
        except Exception as error:
            # Such as a GPU whose memory something else has taken for now.
            failures.append(f"{runtime} failed with {type(error).__name__}: {error}")
    if not latency_ms:
        raise RuntimeMissingError("no runtime can run this bundle here: " + "; ".join([*missing, *failures]))
    return latency_ms, failures


def _measure(network: Network, inputs: dict[str, NDArray[Any]]) -> float:
    """Return the shortest of the calls that fit into the budget, in milliseconds; the first call does not count."""
    network(inputs)
    latencies: list[float] = []
    end = perf_counter() + _TIME_BUDGET_S
    while not latencies or perf_counter() < end:
        start = perf_counter()
        network(inputs)
        latencies.append(1000 * (perf_counter() - start))
    return min(latencies)


def _guided_step(manifest: Manifest) -> dict[str, NDArray[Any]]:
    random, side = np.random.default_rng(0), manifest.image_size // manifest.vae_factor
    return {
        "sample": random.standard_normal((2, 4, side, side), np.float32),
        "timestep": np.full(2, 500, np.float32),
        "encoder_hidden_states": random.standard_normal((2, manifest.max_tokens, manifest.dim), np.float32),
    }


def _key(manifest: Manifest, options: RuntimeOptions) -> str:
    facts = [manifest.networks["unet"].files[0].sha256, [plan.file.sha256 for plan in manifest.plans], repr(options)]
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts.append(f"{package} {metadata.version(package)}")
    # Not the name of the machine, which is a new one at every start of a container.
    return hashlib.sha256(repr([*facts, _processor(), _cores(), gpu_names()]).encode()).hexdigest()


def _processor() -> str:
    """Its model; Python alone knows it on few systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("model name")), platform.processor() or platform.machine())


def _cores() -> int | None:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_path() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "hiper" / "runtimes.json"


def _recall(path: Path) -> dict[str, dict[str, float]]:
    """What is damaged is forgotten: it can be measured again."""
    try:
        remembered = json.loads(read_capped(path, 2**20))
        return {str(key): _known(latency_ms) for key, latency_ms in remembered.items() if _known(latency_ms)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _known(latency_ms: dict[str, Any]) -> dict[str, float]:
    return {name: float(latency_ms[name]) for name in CANDIDATES if name in latency_ms}
