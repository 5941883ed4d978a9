"""Stable Diffusion 1.x or 2.x with random weights, in diffusers layout: neither time nor memory depends on the weights.

python -m benchmarks.random_model sd1 FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

# Text encoder (width, layers, heads, activation), UNet, VAE; of the models' own configurations.
_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
_TINY_VAE = _VAE | {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "sample_size": 64, "layers_per_block": 1}
_TINY_UNET = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
ARCHITECTURES: dict[str, tuple[tuple[int, int, int, str], dict[str, Any], dict[str, Any]]] = {
    "sd1": ((768, 12, 12, "quick_gelu"), {"sample_size": 64, "cross_attention_dim": 768}, _VAE),
    "sd2": (
        (1024, 23, 16, "gelu"),
        {
            "sample_size": 64,
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        _VAE,
    ),
    "tiny": ((64, 2, 2, "quick_gelu"), _TINY_UNET | {"cross_attention_dim": 64}, _TINY_VAE),
}
_VOCABULARY = 49408


def write_random_model(architecture: str, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a pipeline to `folder`, unless it is there.

    Args:
        architecture: a key of ARCHITECTURES.
        folder: to make.
        dtype: of the files; half the disk, and the same networks.
    """
    if (folder / "model_index.json").exists():
        return
    text, unet, vae = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(**vae),
        text_encoder=_text_encoder(*text, tokenizer),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**unet),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    pipeline.to(dtype).save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _text_encoder(width: int, layers: int, heads: int, activation: str, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=_VOCABULARY,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            hidden_act=activation,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level BPE without merges: one token a letter, since no vocabulary can be fetched."""
    letters = [chr(code) for code in range(33, 127)]
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={symbol: index for index, symbol in enumerate(symbols)},
        merges=[],
        pad_token="<|endoftext|>",
        model_max_length=77,
    )


if __name__ == "__main__":
    write_random_model(sys.argv[1], Path(sys.argv[2]))
