"""TensorRT as far as HiPer calls it: a plan holds its ONNX file, and running it is ONNX Runtime on "device" addresses.

Each class here is held to the interface recorded from the real bindings of one version, see `strict.py`. What the
documentation forbids is refused here too: the default stream, addresses off the 256-byte grid, shapes outside the
profile, a first run inside a capture, networks that are not strongly typed.
"""

import ctypes
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.tensorrt_double.cuda_double import ALIGNMENT, CudaDouble
from tests.tensorrt_double.strict import hold, load_api, make_enums

MAGIC = b"PLAN"
DTYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.UINT8: "UINT8"}
NUMPY = {"FLOAT": np.float32, "INT64": np.int64, "UINT8": np.uint8}


def make_module(api_version: str, cuda: CudaDouble) -> ModuleType:
    """Stand in for the package `tensorrt`; its `refused` names a call for which there is no memory."""
    api = load_api(api_version)
    enums = make_enums(api)
    trt = ModuleType("tensorrt")
    names: dict[str, type] = dict(enums)
    for name, kind in _doubles(trt, cuda).items():
        names[name] = hold(kind, api["classes"][name], names)
    names["ILogger"].Severity = enums["Severity"]
    for name, kind in names.items():
        setattr(trt, name, kind)
    trt.__version__ = api["version"]
    trt.refused = ""
    trt.nptype = lambda dtype: NUMPY[dtype.name]
    return trt


def _doubles(trt: Any, cuda: CudaDouble) -> dict[str, type]:
    class ILogger:
        def __init__(self) -> None: ...

        def log(self, severity: Any, msg: str) -> None: ...

    class IProgressMonitor:
        def __init__(self) -> None: ...

    class IHostMemory(bytes):
        @property
        def nbytes(self) -> int:
            return len(self)

    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> Any:
            return trt.IHostMemory(self._data + b"+")

    class INetworkDefinition:
        def __init__(self, flags: int) -> None:
            self._flags = flags
            self._model: onnx.ModelProto | None = None

    class IOptimizationProfile:
        def __init__(self) -> None:
            self._shapes: dict[str, list[list[int]]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self._shapes[input] = [list(min), list(opt), list(max)]

    class IBuilderConfig:
        def __init__(self) -> None:
            self._profiles: list[Any] = []
            self._cleared: set[str] = set()
            self._limits: dict[str, int] = {}
            self._cache: Any = None
            self._level = 3
            self._monitor: Any = None

        @property
        def builder_optimization_level(self) -> int:
            return self._level

        @builder_optimization_level.setter
        def builder_optimization_level(self, level: int) -> None:
            self._level = level

        @property
        def progress_monitor(self) -> Any:
            return self._monitor

        @progress_monitor.setter
        def progress_monitor(self, monitor: Any) -> None:
            self._monitor = monitor

        def clear_flag(self, flag: Any) -> None:
            self._cleared.add(flag.name)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._limits[pool.name] = pool_size

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            return trt.ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            self._cache = cache
            return True

        def get_timing_cache(self) -> Any:
            return self._cache

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def create_network(self, flags: int = 0) -> Any:
            return trt.INetworkDefinition(flags)

        def create_builder_config(self) -> Any:
            return trt.IBuilderConfig()

        def create_optimization_profile(self) -> Any:
            return trt.IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            model, profiles = network._model, [profile._shapes for profile in config._profiles]
            problem = None
            if not network._flags & 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED):
                problem = "the network is not strongly typed"
            elif not profiles or any(
                profile.keys() != {value.name for value in model.graph.input} for profile in profiles
            ):
                problem = "a dynamic input has no profile"
            if problem:
                self._logger.log(trt.ILogger.Severity.ERROR, problem)
                return None
            monitor = config._monitor
            monitor.phase_start("Building Engine", None, 2)
            monitor.phase_start("Timing", "Building Engine", 5)
            for phase, step in [("Timing", 0), ("Building Engine", 0), ("Timing", 1), ("Building Engine", 1)]:
                if not monitor.step_complete(phase, step):
                    return None
            monitor.phase_finish("Timing")
            header = {"version": trt.__version__, "profiles": profiles, "settings": _settings(config)}
            return trt.IHostMemory(MAGIC + json.dumps(header).encode() + b"\n" + model.SerializeToString())

    class ParserError:
        def __init__(self, text: str) -> None:
            self._text = text

        def desc(self) -> str:
            return self._text

    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            self._network = network
            self._errors: list[Any] = []

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> Any:
            return self._errors[index]

        def parse(self, model: bytes, path: str | None = None) -> bool:
            try:
                parsed = onnx.load_model_from_string(bytes(model))
            except Exception:
                self._errors.append(trt.ParserError("failed to parse the model"))
                return False
            onnx.external_data_helper.load_external_data_for_model(parsed, str(Path(path or ".").parent))
            self._network._model = parsed
            return True

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            header, _, model = bytes(serialized_engine).removeprefix(MAGIC).partition(b"\n")
            if not bytes(serialized_engine).startswith(MAGIC) or json.loads(header)["version"] != trt.__version__:
                self._logger.log(trt.ILogger.Severity.ERROR, "the plan file does not match the expected format")
                return None
            return trt.ICudaEngine(json.loads(header)["profiles"], model, self._logger)

    class ICudaEngine:
        def __init__(self, profiles: list[dict[str, list[list[int]]]], model: bytes, logger: Any) -> None:
            self._profiles = profiles
            self._logger = logger
            self._graph = onnx.load_model_from_string(model).graph
            self._session = onnxruntime.InferenceSession(_plain(model), providers=["CPUExecutionProvider"])

        @property
        def num_io_tensors(self) -> int:
            return len(self._graph.input) + len(self._graph.output)

        @property
        def num_optimization_profiles(self) -> int:
            return len(self._profiles)

        def get_tensor_name(self, index: int) -> str:
            return [*self._graph.input, *self._graph.output][index].name

        def get_tensor_mode(self, name: str) -> Any:
            inputs = [value.name for value in self._graph.input]
            return trt.TensorIOMode.INPUT if name in inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            sizes = self._value(name).type.tensor_type.shape.dim
            return tuple(-1 if size.dim_param else size.dim_value for size in sizes)

        def get_tensor_dtype(self, name: str) -> Any:
            return trt.DataType[DTYPES[self._value(name).type.tensor_type.elem_type]]

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
            return self._profiles[profile_index][name]

        def create_execution_context(self, strategy: Any) -> Any:
            return None if self._refuses("create_execution_context") else trt.IExecutionContext(self)

        def _refuses(self, call: str) -> bool:
            if trt.refused == call:
                self._logger.log(trt.ILogger.Severity.ERROR, f"no memory for {call}")
            return bool(trt.refused == call)

        def _value(self, name: str) -> onnx.ValueInfoProto:
            return next(value for value in (*self._graph.input, *self._graph.output) if value.name == name)

    class IExecutionContext:
        def __init__(self, engine: Any) -> None:
            self._engine = engine
            self._profile: dict[str, list[list[int]]] = {}
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._has_run = False

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            self._profile = self._engine._profiles[profile_index]
            return stream_handle in cuda.streams

        def set_input_shape(self, name: str, shape: Any) -> bool:
            low, _, high = self._profile[name]
            self._shapes[name] = tuple(shape)
            return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._shapes.get(name) or self._outputs()[name].shape

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return memory % ALIGNMENT == 0 and memory in cuda.live

        def execute_async_v3(self, stream_handle: int) -> bool:
            stream = cuda.streams.get(stream_handle)
            if stream is None or (stream.recording is not None and not self._has_run):
                return False
            if stream.recording is not None and self._engine._refuses("execute_async_v3 while recording"):
                stream.broken = True
                return False
            self._has_run = True
            stream.run(self._run)
            return True

        def _run(self) -> None:
            for name, array in self._outputs().items():
                ctypes.memmove(self._addresses[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)

        def _outputs(self) -> dict[str, np.ndarray]:
            inputs = {name: self._read(name, shape) for name, shape in self._shapes.items()}
            names = [value.name for value in self._engine._graph.output]
            return dict(zip(names, self._engine._session.run(names, inputs), strict=True))

        def _read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            if name not in self._addresses:
                return np.zeros(shape, dtype)
            size = math.prod(shape) * dtype.itemsize
            return np.frombuffer(ctypes.string_at(self._addresses[name], size), dtype).reshape(shape)

    return {name: kind for name, kind in locals().items() if isinstance(kind, type)}


def _settings(config: Any) -> dict[str, Any]:
    cached = None if config._cache is None else config._cache._data.decode()
    return {"level": config._level, "cleared": sorted(config._cleared), "limits": config._limits, "cache": cached}


def _plain(model: bytes) -> bytes:
    """Without the attribute that only TensorRT's parser knows."""
    parsed = onnx.load_model_from_string(model)
    for node in parsed.graph.node:
        kept = [attribute for attribute in node.attribute if not attribute.name.startswith("TRT_")]
        assert node.op_type != "Attention" or len(kept) < len(node.attribute)
        del node.attribute[:]
        node.attribute.extend(kept)
    return parsed.SerializeToString()
