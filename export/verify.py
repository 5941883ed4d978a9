"""Compares exported networks with PyTorch; nothing enters a manifest before it passes here."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from engine.errors import BundleError
from engine.runtimes import Network, load_network
from export.example import example_inputs
from export.profiles import Signature, Sizes

# Largest difference from PyTorch in fp32, over the largest value. A single call; rounding to 8 bits is free.
TOLERANCES: Final = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1}

# ONNX Runtime is the oracle; it has no bfloat16 on a CPU, OpenVINO computes it in fp32.
CHECKING_RUNTIMES: Final = {"fp32": "onnxruntime", "fp16": "onnxruntime", "bf16": "openvino"}


def check_onnx(path: Path) -> None:
    """Run ONNX's own checker with strict shape inference.

    Raises:
        BundleError: it refuses the file.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(
            f"{path.name} is not valid ONNX: {error}; please report this with your model's name"
        ) from error


def check_parity(module: nn.Module, path: Path, signature: Signature, sizes: Sizes, precision: str) -> float:
    """Compare an ONNX file with the module it came from, at a number of rows that it was not traced with.

    Args:
        module: in fp32.
        path: the file.
        signature: its inputs and outputs.
        sizes: of the comparison.
        precision: of the file.

    Returns:
        The relative error.

    Raises:
        BundleError: it is larger than `TOLERANCES` allow.
    """
    network = load_network(path, CHECKING_RUNTIMES[precision])
    return check_network(module, network, signature, sizes, precision, path.stem)


def check_network(
    module: nn.Module, network: Network, signature: Signature, sizes: Sizes, precision: str, name: str
) -> float:
    """Compare a loaded network with PyTorch in fp32; see `check_parity`."""
    inputs = example_inputs(signature, sizes, seed=1)
    with torch.no_grad():
        expected = module(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = network({name: tensor.numpy() for name, tensor in inputs.items()})
    error = max(
        relative_error(found[name], tensor.numpy()) for name, tensor in zip(signature.outputs, expected, strict=True)
    )
    # A NaN is no number below the tolerance either.
    if not error <= TOLERANCES[precision]:
        raise BundleError(
            f"the {name} in {precision} differs from PyTorch by {error:.1e} of its largest value, "
            f"{TOLERANCES[precision]:.0e} is allowed; export with --keep-fp32 {name}, or in another --precision"
        )
    return error


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference over the largest value; one level of 8 bits is rounding and no difference."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype == np.uint8:
        difference = np.maximum(difference - 1, 0)
    return float(difference.max() / max(np.abs(expected).max(), 1e-9))
