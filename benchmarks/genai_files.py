"""Writes a model in the layout that OpenVINO GenAI reads; its own converter, optimum, does not install with our pins.

python -m benchmarks.genai_files MODEL FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import openvino
import torch
from torch import Tensor

from benchmarks.optional import optional
from engine.atomic_file import write_atomically
from hiper.model_folder import find_folder, weights_digest
from hiper.models import StableDiffusion, load_model

_DIGEST = "digest"


class _Network(NamedTuple):
    """What to convert, with what example, under which names of inputs, and whose configuration goes with it."""

    module: torch.nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    source: str


class _First(torch.nn.Module):
    """A function whose first result is the tensor wanted."""

    def __init__(self, network: Any, method: str = "forward") -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call it."""
        first: Tensor = getattr(self.network, self.method)(*inputs, return_dict=False)[0]
        return first


def write_genai(model: str, folder: Path) -> None:
    """Convert a model in fp32, unless `folder` holds the same one."""
    source = find_folder(model)
    digest, done = weights_digest(source), folder / _DIGEST
    if done.exists() and done.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    loaded = load_model(model)
    for name, network in _networks(loaded).items():
        (folder / name).mkdir(parents=True)
        _convert(network, folder / name / "openvino_model.xml")
        shutil.copy(source / network.source / "config.json", folder / name)
    for name in ("scheduler", "tokenizer"):
        shutil.copytree(source / name, folder / name)
    shutil.copy(source / "model_index.json", folder)
    openvino_tokenizers = optional("openvino_tokenizers", "bench-peers")
    tokenizer = openvino_tokenizers.convert_tokenizer(loaded.tokenizer, with_detokenizer=False)
    openvino.save_model(tokenizer, folder / "tokenizer" / "openvino_tokenizer.xml")
    write_atomically(done, digest.encode())


def _networks(model: StableDiffusion) -> dict[str, _Network]:
    side = model.image_size // model.vae_factor
    latents, tokens = torch.zeros(1, 4, side, side), torch.zeros(1, model.max_tokens, dtype=torch.long)
    rows = (
        latents.expand(2, -1, -1, -1),
        torch.zeros(1, dtype=torch.long),
        torch.zeros(2, model.max_tokens, model.dim),
    )
    names = ("sample", "timestep", "encoder_hidden_states")
    return {
        "text_encoder": _Network(_First(model.text_encoder), (tokens,), ("input_ids",), "text_encoder"),
        "unet": _Network(_First(model.unet), rows, names, "unet"),
        "vae_decoder": _Network(_First(model.vae, "decode"), (latents,), ("latent_sample",), "vae"),
    }


def _convert(network: _Network, path: Path) -> None:
    with torch.no_grad():
        converted = openvino.convert_model(network.module.eval(), example_input=network.example)
    for port, name in zip(converted.inputs, network.inputs, strict=True):
        port.get_tensor().set_names({name})
    openvino.save_model(converted, path, compress_to_fp16=False)


if __name__ == "__main__":
    write_genai(sys.argv[1], Path(sys.argv[2]))
