"""Compares what was exported with PyTorch; nothing enters a manifest before it passes here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from engine.bundle import Bundle
from engine.errors import BundleError
from engine.rows import RowBatch, RowEdit
from engine.runtimes import Network, load_network
from engine.schedule import step_table
from export.profiles import Signature, Sizes
from export.to_onnx import example
from hiper.models import StableDiffusion
from hiper.sample import draw_noise, sample

# Largest difference from PyTorch in fp32, over the largest value. A single call; rounding to 8 bits is free.
TOLERANCES: Final = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1}
LEAST_EDIT_PSNR_DB: Final = {"fp32": 50.0, "fp16": 30.0, "bf16": 20.0}

# ONNX Runtime is the oracle; it has no bfloat16 on a CPU, OpenVINO computes it in fp32.
CHECKING_RUNTIMES: Final = {"fp32": "onnxruntime", "fp16": "onnxruntime", "bf16": "openvino"}

_EDIT_STEPS: Final = 8
_EDIT_GUIDANCE: Final = 3.0
_PROMPT: Final = "a photo of a dog in the snow"
_BEST_PSNR_DB: Final = 100.0


def check_onnx(path: Path) -> None:
    """Run ONNX's own checker with strict shape inference.

    Raises:
        BundleError: it refuses the file.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(
            f"{path.name} is not valid ONNX: {error}; please report this with your model's name"
        ) from error


def check_parity(module: nn.Module, path: Path, signature: Signature, sizes: Sizes, precision: str) -> float:
    """Compare an ONNX file with the module it came from, at a number of rows that it was not traced with.

    Args:
        module: in fp32.
        path: the file.
        signature: its inputs and outputs.
        sizes: of the comparison.
        precision: of the file.

    Returns:
        The relative error.

    Raises:
        BundleError: it is larger than `TOLERANCES` allow.
    """
    network = load_network(path, CHECKING_RUNTIMES[precision])
    return check_network(module, network, signature, sizes, precision, path.stem)


def check_network(
    module: nn.Module, network: Network, signature: Signature, sizes: Sizes, precision: str, name: str
) -> float:
    """Compare a loaded network with PyTorch in fp32; see `check_parity`."""
    inputs = {name: example(name, sizes.shape(axes), seed=1) for name, axes in signature.inputs.items()}
    with torch.no_grad():
        expected = module(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = network({name: tensor.numpy() for name, tensor in inputs.items()})
    error = max(
        relative_error(found[name], tensor.numpy()) for name, tensor in zip(signature.outputs, expected, strict=True)
    )
    # A NaN is no number below the tolerance either.
    if not error <= TOLERANCES[precision]:
        raise BundleError(
            f"the {name} in {precision} differs from PyTorch by {error:.1e} of its largest value, "
            f"{TOLERANCES[precision]:.0e} is allowed; export with --keep-fp32 {name}, or in another --precision"
        )
    return error


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference over the largest value; one level of 8 bits is rounding and no difference."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype == np.uint8:
        difference = np.maximum(difference - 1, 0)
    return float(difference.max() / max(np.abs(expected).max(), 1e-9))


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
    side = model.image_size // model.vae_factor
    noise = draw_noise([0], side, side)
    found_db = psnr_db(_edit_bundle(bundle, noise.numpy()), _edit_pytorch(model, noise))
    if not found_db >= LEAST_EDIT_PSNR_DB[precision]:
        raise BundleError(
            f"an edit in {precision} is {found_db:.1f} dB from PyTorch's, at least {LEAST_EDIT_PSNR_DB[precision]:.0f} "
            "are asked for; export in another --precision"
        )
    return found_db


def _edit_pytorch(model: StableDiffusion, noise: torch.Tensor) -> NDArray[np.uint8]:
    embedding, negative = model.encode_prompt([_PROMPT, ""]).split(1)
    latents = sample(
        model.unet,
        noise,
        embedding,
        negative,
        schedule=model.schedule,
        num_inference_steps=_EDIT_STEPS,
        guidance_scale=_EDIT_GUIDANCE,
    )
    pixels = (model.decode_latents(latents)[0].permute(1, 2, 0) / 2 + 0.5) * 255
    return np.asarray(pixels.round().to(torch.uint8))


def _edit_bundle(bundle: Bundle, noise: NDArray[np.float32]) -> NDArray[np.uint8]:
    ids = np.array([encoding.ids for encoding in bundle.tokenizer.encode_batch([_PROMPT, ""])])
    cond, uncond = bundle.text_encoder({"input_ids": ids})["prompt_embedding"]
    table = step_table(bundle.manifest.schedule.load(), "ddim", _EDIT_STEPS)
    edit = RowEdit(noise[0], cond, uncond, table, _EDIT_GUIDANCE)
    rows = RowBatch(edit.noise.shape, cond.shape)
    rows.join(edit)
    inputs: Mapping[str, NDArray[Any]] = rows.turn(None, [edit])
    for step in range(_EDIT_STEPS):
        last = step == _EDIT_STEPS - 1
        inputs = rows.turn(bundle.unet(inputs)["out_sample"], [] if last else [edit])
    image: NDArray[np.uint8] = bundle.decoder({"latent_sample": rows.latents(edit)[None]})["image"][0]
    return image


def psnr_db(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels in dB, at most 100."""
    error = np.mean((found.astype(np.float64) - expected) ** 2)
    return float(min(10 * np.log10(255**2 / error), _BEST_PSNR_DB)) if error else _BEST_PSNR_DB
