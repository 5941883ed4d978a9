"""What the paper shows of a tail: reconstruction, edit and text alone side by side, and its strength.

Loads no PyTorch: whatever edits can be shown so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from PIL import Image

from hiper.sheet import contact_sheet

if TYPE_CHECKING:
    from hiper.edit import Subject

STRENGTHS: Final = (0.2, 0.4, 0.6, 0.8, 1.0)


class Editing(Protocol):
    """What edits as `HiPer` does, with whatever networks."""

    def edit(self, *args: Any, **options: Any) -> list[Image.Image]:
        """Sample pictures; as `HiPer.edit`."""


def comparison(
    hiper: Editing,
    tail: Subject,
    prompts: Sequence[str],
    edits: Sequence[Image.Image],
    source: Image.Image | None = None,
    **options: Any,
) -> Image.Image:
    """Draw edits beside what the tail makes of its own prompt, and what the model makes of the text alone.

    Args:
        hiper: what edits.
        tail: of the subject.
        prompts: target prompts.
        edits: one picture a prompt.
        source: what the tail was fitted to.
        options: of `HiPer.edit`, the same as for the edits.

    Returns:
        A sheet with a row a prompt: source, [source, tail], [target], [target, tail].
    """
    reconstruction = hiper.edit(tail, tail.info.source_prompt, **options | {"tail_strength": 1.0})[0]
    alone = [hiper.edit(None, prompt, **options)[0] for prompt in prompts]
    rows = [[source, reconstruction, plain, edit] for plain, edit in zip(alone, edits, strict=True)]
    columns = ["source", "reconstruction", "text alone", "text + tail"]
    start = 0 if source is not None else 1
    title = f'"{tail.info.source_prompt}"'
    return contact_sheet([row[start:] for row in rows], columns=columns[start:], rows=prompts, title=title)


def strength_strip(
    hiper: Editing, tail: Subject, prompts: Sequence[str], strengths: Sequence[float] = STRENGTHS, **options: Any
) -> Image.Image:
    """Draw each prompt with the text alone, then under rising strengths of the tail.

    Args:
        hiper: what edits.
        tail: of the subject.
        prompts: a row each.
        strengths: a column each.
        options: of `HiPer.edit`.
    """
    options.pop("tail_strength", None)
    rows = [
        [hiper.edit(None, prompt, **options)[0]]
        + [hiper.edit(tail, prompt, tail_strength=strength, **options)[0] for strength in strengths]
        for prompt in prompts
    ]
    columns = ["text alone", *(f"strength {strength:g}" for strength in strengths)]
    return contact_sheet(rows, columns=columns, rows=prompts)
