"""Compares a whole edit with PyTorch's, from prompt to pixels."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.bundle import Bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
from engine.errors import BundleError
from engine.tail_file import TailFile
from engine.tail_info import TailInfo
from hiper.images import to_uint8
from hiper.models import StableDiffusion
from hiper.psnr import psnr_db
from hiper.sample import draw_noise, sample
from hiper.tail import splice

LEAST_EDIT_PSNR_DB: Final = {"fp32": 50.0, "fp16": 30.0, "bf16": 20.0}

# The edit that is made both ways.
_PROMPT: Final = "a photo of a dog in the snow"
_TAIL_PROMPT: Final = "a red cat"
_TAIL_TOKENS: Final = 5
_TAIL_STRENGTH: Final = 0.8
_GUIDANCE: Final = 3.0
_STEPS: Final = 8
_SEED: Final = 0


def check_edit(model: StableDiffusion, bundle: Bundle, precision: str) -> float:
    """Make one whole edit in PyTorch and with a bundle, from prompt to pixels, guided and with a tail.

    Args:
        model: in fp32.
        bundle: opened with the runtime to check.
        precision: of the bundle.

    Returns:
        PSNR of the two pictures in dB, at most 100.

    Raises:
        BundleError: it is too low.
    """
    height, width = _size(model, bundle)
    # Any rows of the right width are a tail; those of another prompt are ones that the UNet has seen the like of.
    tail = model.encode_prompt(_TAIL_PROMPT)[0, -_TAIL_TOKENS:]
    expected = _edit_pytorch(model, tail, height, width)
    found_db = psnr_db(_edit_bundle(model, bundle, tail.numpy(), height, width), expected)
    if not found_db >= LEAST_EDIT_PSNR_DB[precision]:
        raise BundleError(
            f"an edit in {precision} is {found_db:.1f} dB from PyTorch's, at least {LEAST_EDIT_PSNR_DB[precision]:.0f} "
            "are asked for; export in another --precision"
        )
    return found_db


def _size(model: StableDiffusion, bundle: Bundle) -> tuple[int, int]:
    """The bundle's own image size, or the model's where it is open."""
    shape = next(tensor.shape for tensor in bundle.manifest.networks["decoder"].outputs if tensor.name == "image")
    height, width = (size if isinstance(size, int) else model.image_size for size in shape[1:3])
    return height, width


def _edit_pytorch(model: StableDiffusion, tail: Tensor, height: int, width: int) -> NDArray[np.uint8]:
    embedding, negative = model.encode_prompt([_PROMPT, ""]).split(1)
    latents = sample(
        model.unet,
        draw_noise([_SEED], height // model.vae_factor, width // model.vae_factor),
        splice(embedding, tail, _TAIL_STRENGTH),
        negative,
        schedule=model.schedule,
        num_inference_steps=_STEPS,
        guidance_scale=_GUIDANCE,
    )
    picture: NDArray[np.uint8] = to_uint8(model.decode_latents(latents))[0]
    return picture


def _edit_bundle(
    model: StableDiffusion, bundle: Bundle, tail: NDArray[np.float32], height: int, width: int
) -> NDArray[np.uint8]:
    info = TailInfo(model.model_id, model.digest, model.family, model.prediction_type, model.clip_skip, _TAIL_PROMPT)
    request = EditRequest(
        _PROMPT,
        TailFile(tail, tail, info),
        seed=_SEED,
        tail_strength=_TAIL_STRENGTH,
        guidance_scale=_GUIDANCE,
        num_inference_steps=_STEPS,
    )
    return Editor(bundle, height, width).edit([request])[0].image
