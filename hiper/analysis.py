"""What the paper shows of a tail: reconstruction, edit and text alone side by side, its strength, its attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from PIL import Image

from hiper.attention import AttentionMaps, label_maps, recorded_attention, word_positions
from hiper.pipeline import HiPer
from hiper.sheet import contact_sheet
from hiper.tail import Tail

STRENGTHS: Final = (0.2, 0.4, 0.6, 0.8, 1.0)


def comparison(
    hiper: HiPer,
    tail: Tail,
    prompts: Sequence[str],
    edits: Sequence[Image.Image],
    source: Image.Image | None = None,
    **options: Any,
) -> Image.Image:
    """Draw edits beside what the tail makes of its own prompt, and what the model makes of the text alone.

    Args:
        hiper: the model.
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
    hiper: HiPer, tail: Tail, prompts: Sequence[str], strengths: Sequence[float] = STRENGTHS, **options: Any
) -> Image.Image:
    """Draw each prompt with the text alone, then under rising strengths of the tail.

    Args:
        hiper: the model.
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


def attention_maps(hiper: HiPer, tail: Tail, prompt: str, **options: Any) -> AttentionMaps:
    """Sample a picture and record what its parts attend to, over all steps, heads and layers.

    Args:
        hiper: the model.
        tail: of the subject.
        prompt: what to sample.
        options: of `HiPer.edit`.
    """
    side = hiper.model.image_size // hiper.model.vae_factor
    with recorded_attention(hiper.model.unet, side, side) as record:
        picture = hiper.edit(tail, prompt, **options)[0]
    words = word_positions(hiper.model.tokenizer, prompt)
    # The last row is the prompt's: negative prompts go first.
    maps = label_maps(record.maps()[-1], words, tail.tail_tokens)
    return AttentionMaps(picture, (*(word for word, _ in words), "tail"), maps)
