"""Oracle: Pillow reads back what was written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hiper.errors import OutputError
from hiper.png import save_png

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def test_png_keeps_pixels_and_text(tmp_path: Path) -> None:
    metadata = {"prompt": "a dög, 日本", "seed": "1"}
    save_png(PICTURE, tmp_path / "edit.png", metadata)
    with Image.open(tmp_path / "edit.png") as picture:
        assert dict(picture.text) == metadata
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)
    save_png(PICTURE, tmp_path / "edit.png")
    with Image.open(tmp_path / "edit.png") as picture:
        assert dict(picture.text) == {}
    with pytest.raises(OutputError, match="No such file or directory"):
        save_png(PICTURE, tmp_path / "none" / "edit.png")
