"""Compares a bundle's files with PyTorch by Polygraphy, NVIDIA's own means: a second opinion on our checks."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.common import TensorMetadata
from polygraphy.comparator import Comparator, SimpleCompareFunc
from polygraphy.logger import G_LOGGER
from torch import nn

from engine.bundle_files import find_artifact, find_plan
from engine.errors import BundleError
from engine.manifest import NETWORKS, Manifest
from engine.runtimes import cuda
from export.config import ExportConfig, PlanConfig
from export.example import example_inputs
from export.modules import MODULES
from export.profiles import SIGNATURES, Signature, Sizes, dtype_of
from export.verify import CHECKING_RUNTIMES, TOLERANCES
from hiper.models import StableDiffusion


class TorchRunner(BaseRunner):  # type: ignore[misc]
    """A module as Polygraphy sees runtimes."""

    def __init__(self, module: nn.Module, signature: Signature, name: str) -> None:
        super().__init__(name=f"torch-{name}")
        self._module = module
        self._signature = signature

    def get_input_metadata_impl(self) -> Any:
        """Names and dtypes; sizes come with the inputs."""
        metadata = TensorMetadata()
        for name, axes in self._signature.inputs.items():
            metadata.add(name, dtype=np.dtype(dtype_of(name)), shape=(None,) * len(axes))
        return metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[Any]]) -> "OrderedDict[str, NDArray[Any]]":
        """Run once."""
        start = perf_counter()
        with torch.no_grad():
            outputs = self._module(*(torch.from_numpy(feed_dict[name]) for name in self._signature.inputs))
        self.inference_time = perf_counter() - start
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return OrderedDict(
            zip(self._signature.outputs, (output.contiguous().numpy() for output in outputs), strict=True)
        )


def compare(
    model: StableDiffusion, folder: Path, manifest: Manifest, plan_config: PlanConfig | None = None
) -> list[str]:
    """Run every network in PyTorch, ONNX Runtime and, if asked for, as a plan of this machine on the same inputs.

    Args:
        model: that the bundle was exported from, in fp32.
        folder: the bundle.
        manifest: of the bundle.
        plan_config: of its plans for this machine; None compares no plan.

    Returns:
        What was compared with PyTorch, as "unet in onnxruntime".

    Raises:
        BundleError: an output differs by more than its precision allows.
    """
    size = ExportConfig.of(folder, manifest).image_sizes(model.image_size)[0]
    compared = []
    for name in NETWORKS:
        plan = None if plan_config is None else find_plan(folder, manifest, name, plan_config.device)
        # Polygraphy takes a plan's first profile; an ONNX file takes any rows.
        rows = 1 if plan is None else next(iter(plan.profiles[0].values()))[0]
        runners = _runners(folder, manifest, name, plan_config)
        if runners:
            reference = TorchRunner(MODULES[name](model).eval(), SIGNATURES[name], name)
            tolerance = TOLERANCES[manifest.networks[name].precision]
            with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
                _compare(name, reference, runners, Sizes.of(model, rows, size), tolerance)
        compared += [f"{name} in {runtime}" for runtime in runners]
    return compared


def _runners(folder: Path, manifest: Manifest, name: str, plan_config: PlanConfig | None) -> dict[str, Any]:
    runners = {}
    if CHECKING_RUNTIMES[manifest.networks[name].precision] == "onnxruntime":
        path = find_artifact(folder, manifest, name, "onnxruntime", 0)
        runners["onnxruntime"] = OnnxrtRunner(SessionFromOnnx(str(path)))
    if plan_config is not None:
        # Polygraphy looks for TensorRT as soon as this is imported, and takes the GPU that is this thread's.
        from polygraphy.backend.trt import EngineFromPath, TrtRunner

        cuda.call("cudaSetDevice", plan_config.device)
        path = find_artifact(folder, manifest, name, "tensorrt", plan_config.device)
        runners["tensorrt"] = TrtRunner(EngineFromPath(str(path)))
    return runners


def _compare(name: str, reference: TorchRunner, runners: dict[str, Any], sizes: Sizes, tolerance: float) -> None:
    inputs = {key: tensor.numpy() for key, tensor in example_inputs(SIGNATURES[name], sizes, seed=2).items()}
    results = Comparator.run([reference, *runners.values()], data_loader=[inputs])
    expected = results[0][1][0]
    # One level of 8 bits is rounding; all else is measured by the largest value, as in `relative_error`.
    allowed = {
        key: tolerance * float(np.abs(array).max()) + (array.dtype == np.uint8) for key, array in expected.items()
    }
    compare_func = SimpleCompareFunc(atol=allowed, rtol=0.0, check_error_stat="max")
    against_reference = [(0, index) for index in range(1, len(results))]
    if not Comparator.compare_accuracy(results, comparisons=against_reference, compare_func=compare_func):
        raise BundleError(f"Polygraphy finds that the {name} differs from PyTorch in one of {', '.join(runners)}")
