"""Laid-out ONNX models against Triton's schema, their own graphs, and the bundle's networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from engine import record
from engine.bundle import open_bundle
from engine.bundle_files import read_manifest
from engine.manifest import NETWORKS
from export.describe import describe_file
from export.to_onnx import save
from export.triton.repository import lay_out
from tests.export.triton.server_double import ServerDouble, model_file, read_config

TYPES = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
}

Tensor = tuple[str, str, list[int]]


def of_graph(values: Any) -> list[Tensor]:
    """Name, type and shape of what a graph takes or returns; the first axis counts rows in all of them."""
    tensors = []
    for value in values:
        rows, *rest = value.type.tensor_type.shape.dim
        assert rows.dim_param == "rows"
        sizes = [-1 if size.dim_param else size.dim_value for size in rest]
        tensors.append((value.name, TYPES[value.type.tensor_type.elem_type], sizes))
    return tensors


def of_config(tensors: Any) -> list[Tensor]:
    """The same as the network sees it, after Triton's reshape."""
    return [
        (
            tensor.name,
            model_config_pb2.DataType.Name(tensor.data_type),
            list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims),
        )
        for tensor in tensors
    ]


@pytest.mark.parametrize("network", NETWORKS)
def test_configurations_match_the_graphs(repository: Path, network: str) -> None:
    config = read_config(repository / network)
    graph = onnx.load(model_file(repository / network), load_external_data=False).graph
    assert of_config(config.input) == of_graph(graph.input)
    assert of_config(config.output) == of_graph(graph.output)


def test_batches_grow_beyond_one_edit(repository: Path) -> None:
    configs = {network: read_config(repository / network) for network in NETWORKS}
    assert {name: config.max_batch_size for name, config in configs.items()} == {
        "text_encoder": 32,
        "unet": 32,
        "decoder": 4,
        "encoder": 4,
    }
    batching = configs["unet"].dynamic_batching
    assert list(batching.preferred_batch_size) == [4, 8, 16, 32]
    assert batching.max_queue_delay_microseconds == 1000
    assert [(group.count, group.kind) for group in configs["unet"].instance_group] == [
        (1, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    ]


def test_a_row_has_one_timestep(repository: Path) -> None:
    """Triton's documented form for a network that takes [rows]: the client sends [rows, 1]."""
    timestep = read_config(repository / "unet").input[1]
    assert (timestep.name, list(timestep.dims)) == ("timestep", [1])
    assert timestep.HasField("reshape") and not timestep.reshape.shape


def request_for(network: str, rows: int, dim: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(rows)
    latents = random.standard_normal((rows, 4, 8, 8), np.float32)
    return {
        "text_encoder": {"input_ids": random.integers(0, 200, (rows, 77))},
        "unet": {
            "sample": latents,
            "timestep": random.integers(0, 1000, (rows, 1)).astype(np.float32),
            "encoder_hidden_states": random.standard_normal((rows, 77, dim), np.float32),
        },
        "decoder": {"latent_sample": latents},
        "encoder": {"image": random.integers(0, 256, (rows, 64, 64, 3), np.uint8)},
    }[network]


@pytest.mark.parametrize("network", NETWORKS)
def test_joined_requests_get_what_the_bundle_gives(exported: Path, repository: Path, network: str) -> None:
    bundle = open_bundle(exported, "onnxruntime")
    requests = [request_for(network, rows, bundle.manifest.dim) for rows in (2, 1)]
    answers = ServerDouble(repository / network).infer(requests)
    for request, answer in zip(requests, answers, strict=True):
        alone = getattr(bundle, network)(
            request | {name: request[name][:, 0] for name in request if name == "timestep"}
        )
        assert answer.keys() == alone.keys()
        for name, array in answer.items():
            expected = alone[name].astype(np.float64)
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1 if array.dtype == np.uint8 else 1e-4)


def test_requests_of_another_form_are_refused(repository: Path, exported: Path) -> None:
    request = request_for("unet", 2, read_manifest(exported).dim)
    with pytest.raises(AssertionError, match=r"timestep: \(2,\) instead of \[-1, \[1\]\]"):
        ServerDouble(repository / "unet").infer([request | {"timestep": request["timestep"][:, 0]}])


def test_weights_in_a_file_of_their_own(
    bundle: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models beyond two gigabytes have one; Triton wants the files in a folder that is named as the model."""
    monkeypatch.setattr("export.to_onnx._MAX_SINGLE_FILE_BYTES", 0)
    files = save(onnx_ir.load(bundle / "unet.onnx"), bundle / "unet.onnx")
    manifest = read_manifest(bundle)
    unet = replace(manifest.networks["unet"], files=tuple(map(describe_file, files)))
    networks = {**manifest.networks, "unet": unet}
    (bundle / "manifest.json").write_text(record.dump(replace(manifest, networks=networks)))

    lay_out(bundle, tmp_path / "models")
    version = tmp_path / "models" / "unet" / "1"
    assert {str(path.relative_to(version)) for path in version.rglob("*")} == {
        "model.onnx",
        "model.onnx/model.onnx",
        "model.onnx/unet.onnx.data",
    }
    request = request_for("unet", 1, manifest.dim)
    apart, together = (ServerDouble(folder / "unet").infer([request]) for folder in (tmp_path / "models", repository))
    np.testing.assert_array_equal(apart[0]["out_sample"], together[0]["out_sample"])
