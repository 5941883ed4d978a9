"""A bundle written by hand: its networks are a few operators each, its model is no model, everything else is real."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from engine import record
from engine.bundle_files import MANIFEST_NAME
from engine.manifest import FORMAT, Artifact, EditDefaults, FileRecord, Manifest, ScheduleRecord, TensorRecord

DIM, TOKENS, SIDE = 8, 77, 4
LATENTS = ("rows", 4, SIDE, SIDE)
IMAGE = ("rows", 8 * SIDE, 8 * SIDE, 3)
EMBEDDING = ("rows", TOKENS, DIM)

# name → inputs, outputs, operators (one line: operator, inputs, output, attributes), constants
Lines = list[tuple[str, list[str], str, dict[str, object]]]
Tensors = dict[str, tuple[str, tuple[int | str, ...]]]


@pytest.fixture
def toy_bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "toy bundle"
    folder.mkdir()
    write_toy_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def toy_writer() -> Callable[[Path], Manifest]:
    return write_toy_bundle


def write_toy_bundle(folder: Path) -> Manifest:
    manifest = Manifest(
        format=FORMAT,
        export_arguments=("toy model",),
        model_id="toy",
        model_digest="0" * 64,
        family="toy",
        clip_skip=0,
        dim=DIM,
        max_tokens=TOKENS,
        image_size=8 * SIDE,
        vae_factor=8,
        latent_scale=1.0,
        schedule=_schedule(),
        edit_defaults=EditDefaults(guidance_scale=3.0),
        tokenizer=_tokenizer(folder),
        networks={name: build(folder) for name, build in _NETWORKS.items()},
        plans=(),
        edit_psnr_db=100.0,
        tools={"onnx": onnx.__version__},
    )
    (folder / MANIFEST_NAME).write_text(record.dump(manifest))
    return manifest


def _schedule() -> ScheduleRecord:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return ScheduleRecord(tuple(np.cumprod(1 - betas).tolist()), "epsilon", None, 1, False)


def _tokenizer(folder: Path) -> FileRecord:
    words = {"<start>": 0, "<end>": 1, "<pad>": 2, "<unknown>": 3, "a": 4, "dog": 5, "cat": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    tokenizer.enable_padding(length=TOKENS, pad_id=2, pad_token="<pad>")
    tokenizer.save(str(folder / "tokenizer.json"))
    return _file(folder / "tokenizer.json")


def _text_encoder(folder: Path) -> Artifact:
    """Row i of a table for token i."""
    table = np.random.default_rng(0).standard_normal((7, DIM), np.float32)
    return _network(
        folder / "text_encoder.onnx",
        {"input_ids": ("int64", ("rows", TOKENS))},
        {"prompt_embedding": ("float32", EMBEDDING)},
        [("Gather", ["table", "input_ids"], "prompt_embedding", {"axis": 0})],
        {"table": table},
    )


def _unet(folder: Path) -> Artifact:
    """Half the sample, plus the mean of the embedding, plus a thousandth of the timestep."""
    return _network(
        folder / "unet.onnx",
        {
            "sample": ("float32", LATENTS),
            "timestep": ("float32", ("rows",)),
            "encoder_hidden_states": ("float32", EMBEDDING),
        },
        {"out_sample": ("float32", LATENTS)},
        [
            ("Mul", ["sample", "half"], "halved", {}),
            ("ReduceMean", ["encoder_hidden_states", "last_axes"], "mean", {"keepdims": 1}),
            ("Unsqueeze", ["mean", "axis"], "wide_mean", {}),
            ("Mul", ["timestep", "thousandth"], "time", {}),
            ("Reshape", ["time", "column"], "wide_time", {}),
            ("Add", ["wide_mean", "wide_time"], "bias", {}),
            ("Add", ["halved", "bias"], "out_sample", {}),
        ],
        {
            "half": np.float32([0.5]),
            "thousandth": np.float32([0.001]),
            "last_axes": np.int64([1, 2]),
            "axis": np.int64([3]),
            "column": np.int64([-1, 1, 1, 1]),
        },
    )


def _decoder(folder: Path) -> Artifact:
    """The first three latents as colours, eight pixels a side each."""
    return _network(
        folder / "decoder.onnx",
        {"latent_sample": ("float32", LATENTS)},
        {"image": ("uint8", IMAGE)},
        [
            ("Slice", ["latent_sample", "start", "end", "channel_axis"], "colours", {}),
            ("Resize", ["colours", "", "scales"], "large", {"mode": "nearest"}),
            ("Mul", ["large", "scale"], "stretched", {}),
            ("Add", ["stretched", "scale"], "shifted", {}),
            ("Clip", ["shifted", "low", "high"], "clipped", {}),
            ("Round", ["clipped"], "rounded", {}),
            ("Transpose", ["rounded"], "last", {"perm": [0, 2, 3, 1]}),
            ("Cast", ["last"], "image", {"to": TensorProto.UINT8}),
        ],
        {
            "start": np.int64([0]),
            "end": np.int64([3]),
            "channel_axis": np.int64([1]),
            "scales": np.float32([1, 1, 8, 8]),
            "scale": np.float32([127.5]),
            "low": np.float32(0),
            "high": np.float32(255),
        },
    )


def _encoder(folder: Path) -> Artifact:
    """Every eighth pixel's red, four times, and the same as deviation."""
    return _network(
        folder / "encoder.onnx",
        {"image": ("uint8", IMAGE)},
        {"latent_mean": ("float32", LATENTS), "latent_std": ("float32", LATENTS)},
        [
            ("Cast", ["image"], "number", {"to": TensorProto.FLOAT}),
            ("Transpose", ["number"], "planes", {"perm": [0, 3, 1, 2]}),
            ("Slice", ["planes", "starts", "ends", "axes", "steps"], "red", {}),
            ("Concat", ["red", "red", "red", "red"], "latent_mean", {"axis": 1}),
            ("Identity", ["latent_mean"], "latent_std", {}),
        ],
        {
            "starts": np.int64([0, 0, 0]),
            "ends": np.int64([1, 8 * SIDE, 8 * SIDE]),
            "axes": np.int64([1, 2, 3]),
            "steps": np.int64([1, 8, 8]),
        },
    )


_NETWORKS: dict[str, Callable[[Path], Artifact]] = {
    "text_encoder": _text_encoder,
    "unet": _unet,
    "decoder": _decoder,
    "encoder": _encoder,
}


def _network(
    path: Path, inputs: Tensors, outputs: Tensors, lines: Lines, constants: dict[str, NDArray[np.generic]]
) -> Artifact:
    graph = helper.make_graph(
        [helper.make_node(operator, given, [result], **options) for operator, given, result, options in lines],
        path.stem,
        [_value(name, *kind) for name, kind in inputs.items()],
        [_value(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return Artifact(
        files=(_file(path),),
        precision="fp32",
        inputs=tuple(TensorRecord(name, *kind) for name, kind in inputs.items()),
        outputs=tuple(TensorRecord(name, *kind) for name, kind in outputs.items()),
        relative_error=0.0,
    )


def _value(name: str, dtype: str, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def _file(path: Path) -> FileRecord:
    data = path.read_bytes()
    return FileRecord(path.name, len(data), hashlib.sha256(data).hexdigest())
