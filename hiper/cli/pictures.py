"""Makes edits in batches and saves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from hiper.cli.names import slug
from hiper.cli.output_folder import OutputFolder
from hiper.png import save_png

BATCH_SIZE: Final = 4


def batch_count(pictures: int, batch_size: int = BATCH_SIZE) -> int:
    """In how many batches that many pictures are sampled."""
    return math.ceil(pictures / batch_size)


def save_edits(
    pictures: Sequence[Image.Image], folder: OutputFolder, staging: Path, stem: str, text: bool
) -> list[dict[str, Any]]:
    """Save what `HiPer.edit` made under names of their own, and return what they are: path, prompt, seed."""
    edits = []
    for picture in pictures:
        record = {str(name): str(value) for name, value in picture.info.items()}
        name = folder.free_name(f"{stem}-{slug(record['prompt'])}-{record['seed']}", ".png")
        save_png(picture, staging / name, record if text else None)
        edits.append({"path": folder.path / name, "prompt": record["prompt"], "seed": int(record["seed"])})
    return edits


def save_drawing(drawing: Image.Image, folder: OutputFolder, staging: Path, stem: str) -> Path:
    """Save a sheet under a name of its own, and return where it will be."""
    name = folder.free_name(stem, ".png")
    save_png(drawing, staging / name)
    return folder.path / name
