"""The checks themselves: they pass what is right, catch what is wrong, and say what to do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.bundle import open_bundle
from engine.errors import BundleError
from export.modules import Decoder
from export.profiles import SIGNATURES, Sizes
from export.verify import check_onnx, check_parity, relative_error
from export.verify_edit import check_edit
from hiper.models import StableDiffusion


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), 0),
        (np.float32([1, 2.5]), np.float32([1, -2]), 2.25),
        (np.uint8([3, 200]), np.uint8([4, 200]), 0),
        (np.uint8([0, 200]), np.uint8([5, 200]), 4 / 200),
    ],
)
def test_relative_error(found: np.ndarray, expected: np.ndarray, error: float) -> None:
    assert relative_error(found, expected) == pytest.approx(error)


def test_catches_a_network_that_differs(exported: Path, model: StableDiffusion) -> None:
    decoder = Decoder(replace(model, vae=model.vae))
    decoder.latent_scale *= 1.5
    sizes = Sizes.of(model, 1, (64, 64))
    with pytest.raises(BundleError) as caught:
        check_parity(decoder, exported / "decoder.onnx", SIGNATURES["decoder"], sizes, "fp32")
    assert str(caught.value).startswith("the decoder in fp32 differs from PyTorch by ")
    assert str(caught.value).endswith("is allowed; export with --keep-fp32 decoder, or in another --precision")


def test_catches_numbers_that_are_none(exported: Path, model: StableDiffusion) -> None:
    class Nothing(torch.nn.Module):
        def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 64, 64, 3), torch.nan)

    sizes = Sizes.of(model, 1, (64, 64))
    with pytest.raises(BundleError, match="by nan of its largest value"):
        check_parity(Nothing(), exported / "decoder.onnx", SIGNATURES["decoder"], sizes, "fp32")


def test_catches_an_edit_that_differs(exported: Path, model: StableDiffusion) -> None:
    schedule = replace(model.schedule, prediction_type="v_prediction")
    with pytest.raises(BundleError, match=r"^an edit in fp32 is \d+\.\d dB from PyTorch's, at least 50 are asked for"):
        check_edit(replace(model, schedule=schedule), open_bundle(exported, "onnxruntime"), "fp32")


def test_refuses_a_file_that_is_no_onnx(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "unet.onnx"
    path.write_bytes((exported / "unet.onnx").read_bytes().replace(b"GroupNormalization", b"GroupNormalizatioN"))
    with pytest.raises(BundleError, match=r"^unet\.onnx is not valid ONNX: .*GroupNormalizatioN"):
        check_onnx(path)
