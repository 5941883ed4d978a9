"""ONNX → a TensorRT plan for the GPU of this machine, in the precision that the ONNX file has."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import tensorrt

from engine.atomic_file import write_atomically
from engine.errors import BundleError
from engine.runtimes.tensorrt_log import TensorRTLog
from export.config import PlanConfig

# Shapes of all inputs by name; a plan has one profile for each such set, which takes these and no others.
Profile = Mapping[str, tuple[int, ...]]

# Which part of the work is done, 0 to 1.
Advance = Callable[[float], None]


def build_plan(path: Path, profiles: Sequence[Profile], config: PlanConfig, advance: Advance) -> memoryview:
    """Build a plan of an ONNX file; takes minutes for a large network.

    Args:
        path: what `write_onnx` wrote.
        profiles: one for each number of rows and image size.
        config: level, workspace and timing cache.
        advance: called while TensorRT works; what it raises ends the build.

    Raises:
        BundleError: TensorRT cannot parse the file or build it; the message is TensorRT's.
    """
    log, monitor = TensorRTLog(), _Monitor(advance)
    builder = tensorrt.Builder(log)
    # TensorRT 11 knows no other kind of network and ignores the flag; 10 would choose precisions of its own without it.
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(path, network, log)
    settings = _settings(builder, config, monitor)
    for profile in profiles:
        _add_profile(builder, settings, profile)
    plan = builder.build_serialized_network(network, settings)
    monitor.reraise()
    if plan is None:
        raise BundleError(f"TensorRT {tensorrt.__version__} cannot build {path.name}: {log.last_error}")
    if config.timing_cache:
        write_atomically(config.timing_cache, bytes(settings.get_timing_cache().serialize()))
    return memoryview(plan)


def _parse(path: Path, network: Any, log: TensorRTLog) -> None:
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(_decomposable(path), str(path)):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BundleError(f"TensorRT {tensorrt.__version__} cannot parse {path.name}: {errors or log.last_error}")


def _decomposable(path: Path) -> bytes:
    """Let TensorRT take attention apart where it has no fused kernel, as for the VAE's 512 wide head or for fp32.

    Without the parser's own attribute such a build fails: github.com/NVIDIA/TensorRT/issues/4705.
    """
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "Attention":
            node.attribute.append(onnx.helper.make_attribute("TRT_decomposable", 1))
    serialized: bytes = model.SerializeToString()
    return serialized


def _settings(builder: Any, config: PlanConfig, monitor: "_Monitor") -> Any:
    settings = builder.create_builder_config()
    settings.builder_optimization_level = config.optimization_level
    settings.progress_monitor = monitor
    # On by default, it would round the inputs of an fp32 network's products to 10 bits.
    settings.clear_flag(tensorrt.BuilderFlag.TF32)
    if config.workspace_bytes is not None:
        settings.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if config.timing_cache:
        known = config.timing_cache.read_bytes() if config.timing_cache.is_file() else b""
        settings.set_timing_cache(settings.create_timing_cache(known), False)
    return settings


def _add_profile(builder: Any, settings: Any, shapes: Profile) -> None:
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, shape, shape, shape)
    if settings.add_optimization_profile(profile) < 0:
        raise BundleError(f"TensorRT refuses a profile with the shapes {dict(shapes)}; export with another --size")


class _Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
    """Passes the outermost phase on, and stops the build once the caller wants no more of it."""

    def __init__(self, advance: Advance) -> None:
        tensorrt.IProgressMonitor.__init__(self)
        self._advance = advance
        self._outermost = ""
        self._steps = 1
        self._error: BaseException | None = None

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Take note of a phase that no other contains."""
        if not parent_phase:
            self._outermost, self._steps = phase_name, max(num_steps, 1)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Return whether to go on: an exception may not cross TensorRT's threads."""
        try:
            if phase_name == self._outermost:
                self._advance(min((step + 1) / self._steps, 1.0))
        except BaseException as error:
            self._error = error
        return self._error is None

    def phase_finish(self, phase_name: str) -> None:
        """Nothing is left to do."""

    def reraise(self) -> None:
        """Raise what the caller's callback raised."""
        if self._error is not None:
            raise self._error
