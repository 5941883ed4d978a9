"""A small ONNX file written by hand: twice a, plus the sum of b over its last axis."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper


@pytest.fixture(scope="session")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    a = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["rows", 3])
    b = helper.make_tensor_value_info("b", TensorProto.FLOAT, ["rows", 3, 2])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["rows", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [2])
    nodes = [
        helper.make_node("Add", ["a", "a"], ["twice"]),
        helper.make_node("ReduceSum", ["b", "axes"], ["total"], keepdims=0),
        helper.make_node("Add", ["twice", "total"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "doubling", [a, b], [out], [axes])
    path = tmp_path_factory.mktemp("onnx") / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
    return path
