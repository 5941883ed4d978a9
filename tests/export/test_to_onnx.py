"""The exported files: repeatable, in the precision asked for, and made of operators that TensorRT's parser takes."""

from pathlib import Path

import onnx
import onnx_ir
import pytest
import torch

from engine.runtimes import load_network
from export import to_onnx
from export.build import in_precision
from export.modules import MODULES
from export.profiles import SIGNATURES, Sizes
from export.to_onnx import write_onnx
from export.verify import CHECKING_RUNTIMES, check_network, check_onnx
from hiper.models import StableDiffusion

NAMES = tuple(SIGNATURES)

# Those of our operators that TensorRT's ONNX parser imports from 10.14 on (onnx-tensorrt, onnxOpImporters.cpp).
TENSORRT_OPERATORS = """
    Add Attention Cast Clip Concat Conv Cos Div Exp Expand Gather Gelu Gemm GroupNormalization LayerNormalization MatMul
    Mul Reshape Resize Round Shape Sigmoid Sin Slice Split Squeeze Sub Transpose Unsqueeze
"""
TENSORRT_DTYPES = frozenset({"FLOAT", "FLOAT16", "BFLOAT16", "INT64", "INT32", "BOOL", "UINT8"})


def _sizes(model: StableDiffusion, rows: int) -> Sizes:
    return Sizes.of(model, rows, (64, 64))


def test_the_same_model_gives_the_same_bytes(exported: Path, model: StableDiffusion, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    write_onnx(MODULES["encoder"](model), SIGNATURES["encoder"], _sizes(model, 2), path, size_unit=16)
    assert path.read_bytes() == (exported / "encoder.onnx").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_tells_nothing_about_the_exporting_machine(exported: Path, name: str) -> None:
    data = (exported / f"{name}.onnx").read_bytes()
    assert b".py" not in data and b"/work" not in data and b"stack_trace" not in data


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_open_or_fixed_as_asked(exported: Path, name: str) -> None:
    graph = onnx.load(exported / f"{name}.onnx", load_external_data=False).graph
    signature = SIGNATURES[name]
    for value, axes in zip(graph.input, signature.inputs.values(), strict=True):
        found = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        assert found == [{"tokens": 77, "dim": 768}.get(axis, axis) for axis in axes]


@pytest.mark.parametrize("name", NAMES)
def test_tensorrt_can_parse_it(exported: Path, name: str) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(exported / f"{name}.onnx"), strict_mode=True)
    assert {node.op_type for node in model.graph.node} <= set(TENSORRT_OPERATORS.split())
    assert {node.domain for node in model.graph.node} == {""}
    values = [value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.input)]
    dtypes = {onnx.TensorProto.DataType.Name(dtype) for dtype in values}
    assert dtypes <= TENSORRT_DTYPES


@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_eight_bits_are_cast_at_the_border(exported: Path, name: str) -> None:
    """TensorRT takes uint8 as a network's input or output, with a Cast beside it, and nowhere else."""
    graph = onnx.load(exported / f"{name}.onnx").graph
    eight_bit = [node for node in graph.node if "image" in (*node.input, *node.output)]
    assert [node.op_type for node in eight_bit] == ["Cast"]


@pytest.mark.parametrize(
    ("name", "precision"),
    [("unet", "fp16"), ("decoder", "bf16"), pytest.param("unet", "bf16", marks=pytest.mark.slow)],
)
def test_lower_precision_is_in_the_graph(model: StableDiffusion, tmp_path: Path, name: str, precision: str) -> None:
    path, signature = tmp_path / f"{name}.onnx", SIGNATURES[name]
    network = MODULES[name](model)
    write_onnx(in_precision(network, precision), signature, _sizes(model, 2), path)
    check_onnx(path)
    graph = onnx.load(path).graph
    kind = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert weights and {tensor.data_type for tensor in weights} == {kind}
    for node in (node for node in graph.node if node.op_type == "Attention"):
        assert any(attribute.name == "softmax_precision" and attribute.i == 1 for attribute in node.attribute)
    runtime = load_network(path, CHECKING_RUNTIMES[precision])
    assert check_network(network, runtime, signature, _sizes(model, 3), precision, name) > 0
    assert next(iter(network.parameters())).dtype == torch.float32


def test_an_axis_that_cannot_stay_open_is_an_error(model: StableDiffusion, tmp_path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
            first, second = latent_sample.unbind(0)
            return torch.stack([first, second])

    with pytest.raises(Exception, match="rows"):
        write_onnx(Twice(), SIGNATURES["decoder"], _sizes(model, 2), tmp_path / "twice.onnx")
    assert not list(tmp_path.iterdir())


def test_large_weights_lie_beside_the_model(
    exported: Path, model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, "_MAX_SINGLE_FILE_BYTES", 0)
    files = to_onnx.save(onnx_ir.load(exported / "unet.onnx"), tmp_path / "unet.onnx")
    assert [path.name for path in files] == ["unet.onnx", "unet.onnx.data"]
    check_onnx(files[0])
    unet = load_network(files[0], "onnxruntime")
    assert check_network(MODULES["unet"](model), unet, SIGNATURES["unet"], _sizes(model, 1), "fp32", "unet") < 1e-5
