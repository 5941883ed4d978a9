"""Every runtime that is installed, against NumPy; and the refusals."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BundleError, RuntimeMissingError
from engine.runtimes import RUNTIMES, Network, TensorInfo, load_network

FLOAT = np.dtype(np.float32)


@pytest.fixture(params=["onnxruntime", "openvino"])
def network(request: pytest.FixtureRequest, doubling: Path) -> Network:
    return load_network(doubling, request.param)


def _arrays(rows: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(rows)
    return {name: random.standard_normal((rows, *size), np.float32) for name, size in [("a", (3,)), ("b", (3, 2))]}


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_equals_numpy_for_any_number_of_rows(network: Network, rows: int) -> None:
    arrays = _arrays(rows)
    result = network(arrays)
    assert result.keys() == {"out"}
    np.testing.assert_allclose(result["out"], 2 * arrays["a"] + arrays["b"].sum(2), rtol=1e-6)


def test_tells_names_dtypes_and_shapes(network: Network) -> None:
    assert network.inputs == (TensorInfo("a", FLOAT, (None, 3)), TensorInfo("b", FLOAT, (None, 3, 2)))
    assert network.outputs == (TensorInfo("out", FLOAT, (None, 3)),)


def test_refuses_a_missing_input(network: Network) -> None:
    with pytest.raises(ValueError, match=r"^the network takes a, b; it was given a$"):
        network({"a": _arrays(1)["a"]})


def test_refuses_another_dtype(network: Network) -> None:
    arrays = _arrays(2) | {"a": np.zeros((2, 3))}
    with pytest.raises(ValueError, match=r"^a is float64\[2, 3\]; the network takes float32\[\*, 3\]$"):
        network(arrays)


def test_refuses_another_shape(network: Network) -> None:
    arrays = _arrays(2) | {"b": np.zeros((2, 3, 1), np.float32)}
    with pytest.raises(ValueError, match=r"^b is float32\[2, 3, 1\]; the network takes float32\[\*, 3, 2\]$"):
        network(arrays)


def test_refuses_inputs_of_different_rows(network: Network) -> None:
    with pytest.raises(ValueError, match=r"^inputs have different numbers of rows: \{'a': 1, 'b': 2\}$"):
        network({"a": _arrays(1)["a"], "b": _arrays(2)["b"]})


def test_refuses_an_unknown_name(doubling: Path) -> None:
    with pytest.raises(ValueError, match=rf"^the runtime is 'onnx'; use one of {', '.join(RUNTIMES)}$"):
        load_network(doubling, "onnx")


def test_refuses_a_file_that_is_no_model(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"broken\.onnx cannot be run by ONNX Runtime: .*; name another runtime"):
        load_network(broken, "onnxruntime")


@pytest.mark.parametrize("runtime", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_never_falls_back_to_the_cpu(doubling: Path, runtime: str) -> None:
    with pytest.raises(RuntimeMissingError, match=r"^this ONNX Runtime has .*; pip install onnxruntime-gpu$"):
        load_network(doubling, runtime)


def test_a_missing_package_is_an_error_with_the_command(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "engine.runtimes.onnxruntime_cpu", raising=False)
    with pytest.raises(RuntimeMissingError, match=r"^the runtime onnxruntime is not here .*; pip install onnxruntime$"):
        load_network(doubling, "onnxruntime")


@pytest.mark.parametrize("rows", [3, 5])
def test_a_row_does_not_depend_on_its_neighbours(network: Network, rows: int) -> None:
    arrays = _arrays(rows)
    poisoned = {name: array.copy() for name, array in arrays.items()}
    poisoned["a"][1:] = np.nan
    assert (network(arrays)["out"][0] == network(poisoned)["out"][0]).all()
