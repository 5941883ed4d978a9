"""Oracle: a decoder that really is linear, whose colours must be found exactly."""

from typing import Any

import numpy as np

from engine.preview import fit_colors, preview

WEIGHTS = np.array([[0.3, -0.1, 0.0, 0.1, 0.05], [0.1, 0.2, -0.2, 0.0, 0.0], [0.0, 0.1, 0.1, -0.3, -0.1]])


def linear_decoder(latents: Any) -> Any:
    image = np.einsum("ij,njhw->nhwi", WEIGHTS[:, :4], latents) + WEIGHTS[:, 4]
    return np.clip((image + 1) * 127.5, 0, 255).round().astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def test_the_colors_of_a_linear_decoder_are_found() -> None:
    np.testing.assert_allclose(fit_colors(linear_decoder, (4, 16, 24)), WEIGHTS, atol=0.01)


def test_a_preview_is_the_decoded_picture_at_an_eighth_of_its_size() -> None:
    colors = fit_colors(linear_decoder, (4, 15, 9))
    latents = np.random.default_rng(1).standard_normal((4, 15, 9)).astype(np.float32)
    difference = preview(latents, colors).astype(int) - linear_decoder(latents[None])[0, ::8, ::8]
    assert np.abs(difference).max() <= 3


def test_a_poisoned_edit_has_a_preview_too() -> None:
    assert preview(np.full((4, 8, 8), np.nan, np.float32), WEIGHTS.astype(np.float32)).shape == (8, 8, 3)
