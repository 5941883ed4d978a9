"""Tiny random pipelines in diffusers layout, and the rules for the markers `gpu` and `slow`."""

import os

# Before torch is imported: threads that wait must not spin, and no test may ask a hub.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import settings
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

# A busy machine is no failure, and CI tries the same examples every time.
settings.register_profile("hiper", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("hiper")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; add --slow to run it"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With several threads, oneDNN's choice of kernels, and so the rounding, depends on the size of a batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sd1_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random pipeline with the text width and the settings of Stable Diffusion 1.x; images are 64x64."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sd1"
    _pipeline(width=768, pad_token="<|endoftext|>", prediction_type="epsilon").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sd2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random pipeline with the text width and the settings of Stable Diffusion 2.x at 768 pixels (it predicts v)."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sd2"
    _pipeline(width=1024, pad_token="!", prediction_type="v_prediction").save_pretrained(folder)
    return folder


def _pipeline(width: int, pad_token: str, prediction_type: str) -> StableDiffusionPipeline:
    torch.manual_seed(width)
    tokenizer = _tokenizer(pad_token)
    return StableDiffusionPipeline(
        vae=_contrasting(
            AutoencoderKL(
                block_out_channels=(8, 8, 8, 8),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                latent_channels=4,
                norm_num_groups=4,
                sample_size=64,
            )
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=width // 64,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        ),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=width,
            attention_head_dim=2,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=prediction_type,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _contrasting(vae: AutoencoderKL) -> AutoencoderKL:
    """A random decoder paints everything grey, where every picture would equal every other."""
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(4)
    return vae


def _tokenizer(pad_token: str) -> CLIPTokenizer:
    """CLIP's byte-level BPE with a handful of merges; any text can be spelled, "dog" and "cat" are one token each."""
    merges = [
        ("d", "o"),
        ("do", "g</w>"),
        ("c", "a"),
        ("ca", "t</w>"),
        ("s", "i"),
        ("t", "t"),
        ("i", "n"),
        ("in", "g</w>"),
    ]
    symbols = [*_byte_symbols(), *(symbol + "</w>" for symbol in _byte_symbols()), *("".join(pair) for pair in merges)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={symbol: index for index, symbol in enumerate(symbols)},
        merges=merges,
        pad_token=pad_token,
        model_max_length=77,
    )


def _byte_symbols() -> list[str]:
    """One printable character per byte: itself where it has one, else the next free code point (as in GPT-2)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]
