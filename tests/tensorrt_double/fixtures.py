"""Puts the doubles where HiPer imports TensorRT and CUDA from, for one test."""

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from tests.tensorrt_double.cuda_double import CudaDouble
from tests.tensorrt_double.trt_double import make_module

# These import TensorRT at their top and would keep the double of an earlier test.
USERS = ("engine.runtimes.tensorrt_gpu", "engine.runtimes.tensorrt_log", "export.to_tensorrt")


@pytest.fixture(params=["10.14", "11.4"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    cuda = CudaDouble()
    trt = make_module(request.param, cuda)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda.module()  # type: ignore[attr-defined]
    modules = {"tensorrt": trt, "cuda": ModuleType("cuda"), "cuda.bindings": bindings}
    for name, module in {**modules, "cuda.bindings.runtime": bindings.runtime}.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield SimpleNamespace(cuda=cuda, trt=trt)
    for name in USERS:
        sys.modules.pop(name, None)
