"""PyTorch → ONNX: one network, one file, the same bytes every time."""

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import onnx_ir
import torch
from torch import nn

from engine.runtimes.buckets import BUCKETS
from export.example import example_inputs
from export.profiles import Axes, Signature, Sizes

# Keeps Attention, GroupNormalization and LayerNormalization whole, with statistics in fp32 whatever the weights are.
OPSET: Final = 23

# A protobuf message ends at 2 GiB, and readers hold it in memory twice.
_MAX_SINGLE_FILE_BYTES: Final = 2**30


def write_onnx(
    module: nn.Module,
    signature: Signature,
    sizes: Sizes,
    path: Path,
    size_unit: int | None = None,
) -> tuple[Path, ...]:
    """Write a network as ONNX, its rows and where asked its height and width left open.

    Args:
        module: a network of `export.modules`, in the precision that the file shall have.
        signature: names and axes of its inputs and outputs.
        sizes: what it is traced at, with 2 rows or more.
        path: the file; weights of more than 1 GiB lie beside it, in a file of that name and ".data".
        size_unit: images may have any multiple of so many pixels as height and width; None fixes them at `sizes`.

    Returns:
        The files written, the model first.
    """
    dimensions = _dimensions(size_unit, sizes.vae_factor)
    dynamic_shapes = tuple(_dynamic(axes, dimensions) for axes in signature.inputs.values())
    inputs = tuple(example_inputs(signature, sizes).values())
    with _silence(), torch.no_grad():
        # Left to itself, torch.onnx.export mends an axis that it cannot keep open by closing it, without a word.
        program = torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes, strict=False)
        result = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            verbose=False,
        )
    assert result is not None
    _tidy(result.model.graph, signature, sizes, dimensions.keys())
    return save(result.model, path)


def _dimensions(size_unit: int | None, vae_factor: int) -> dict[str | int, Any]:
    dimensions: dict[str | int, Any] = {"rows": torch.export.Dim("rows", min=1, max=BUCKETS[-1])}
    if size_unit:
        for side in ("height", "width"):
            # The UNet halves latents at every level and doubles them again: only multiples come out as they went in.
            units = torch.export.Dim(f"{side}_units", min=1, max=512)
            dimensions[f"image_{side}"] = size_unit * units
            dimensions[f"latent_{side}"] = size_unit // vae_factor * units
    return dimensions


def _dynamic(axes: Axes, dimensions: Mapping[str | int, Any]) -> dict[int, Any]:
    return {index: dimensions[axis] for index, axis in enumerate(axes) if axis in dimensions}


def _tidy(graph: onnx_ir.Graph, signature: Signature, sizes: Sizes, open_axes: Collection[str | int]) -> None:
    """Make the graph what the signature says, for every reader."""
    axes = (*signature.inputs.values(), *signature.outputs.values())
    for value, wanted in zip((*graph.inputs, *graph.outputs), axes, strict=True):
        _name_axes(value, sizes.open_shape(wanted, open_axes))
    for value in graph.inputs:
        if value.dtype == onnx_ir.DataType.UINT8:
            _cast_first(value)
    for node in graph:
        if node.op_type == "Attention" and node.outputs[0].dtype != onnx_ir.DataType.FLOAT:
            # A sum over all latents is more than half precision can hold.
            node.attributes["softmax_precision"] = onnx_ir.AttrInt64("softmax_precision", onnx_ir.DataType.FLOAT)
    graph.sort()
    _forget_origin(graph)


def _name_axes(value: onnx_ir.Value, axes: Axes) -> None:
    found = [] if value.shape is None else [isinstance(size, int) for size in value.shape]
    assert found == [isinstance(size, int) for size in axes], f"{value.name}: {value.shape} instead of {axes}"
    value.shape = onnx_ir.Shape(axes)


def _cast_first(value: onnx_ir.Value) -> None:
    """TensorRT takes 8 bits at a network's border and only to cast them: others shall read what comes of it."""
    cast = next(node for node in value.consumers() if node.op_type == "Cast")
    for node, index in value.uses():
        if node is not cast:
            node.replace_input_with(index, cast.outputs[0])


def _forget_origin(graph: onnx_ir.Graph) -> None:
    """Drop what tells about the exporting machine rather than the network."""
    graph.name, graph.doc_string = "hiper", None
    for node in graph:
        node.doc_string = None
        node.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values(), *(out for node in graph for out in node.outputs)):
        value.metadata_props.clear()


def save(model: onnx_ir.Model, path: Path) -> tuple[Path, ...]:
    """Write a model, its weights beside it where they are many; return the files, the model first."""
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if weights <= _MAX_SINGLE_FILE_BYTES:
        onnx_ir.save(model, path)
        return (path,)
    data = path.with_name(f"{path.name}.data")
    onnx_ir.save(model, path, external_data=data.name)
    return path, data


@contextmanager
def _silence() -> Iterator[None]:
    """Exporting warns of its own deprecations and of torchvision, which nothing here needs."""
    loggers = [logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx._internal.exporter._registration")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
