"""Pictures to PNG files; loads no PyTorch, since `hiper-edit --bundle` has none."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin

from engine.atomic_file import write_atomically


def save_png(picture: Image.Image, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a PNG whole or not at all, with text fields that any picture viewer can show.

    Raises:
        OutputError: no such folder, no permission or no space.
    """
    fields = PngImagePlugin.PngInfo()
    for name, text in (metadata or {}).items():
        fields.add_itxt(name, text)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=fields)
    write_atomically(path, buffer.getvalue())
