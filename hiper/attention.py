"""Where each word, and the tail, acts in a picture: cross-attention maps (Han et al. 2023, fig. 3)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from hiper.sheet import contact_sheet

if TYPE_CHECKING:
    from hiper.pipeline import HiPer
    from hiper.tail import Tail

_COLUMNS: Final = 8


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """One picture and how much each of its parts attends to what.

    Attributes:
        picture: what was sampled meanwhile.
        labels: the words of the prompt in order, then "tail".
        maps: mean attention of each position to the tokens of a label, added up, (labels, h, w) in [0, 1].
    """

    picture: Image.Image
    labels: tuple[str, ...]
    maps: Tensor

    @property
    def shares(self) -> list[float]:
        """How much of all attention each label gets; start token and padding get what is missing to 1."""
        shares: list[float] = self.maps.mean((1, 2)).tolist()
        return shares


class AttentionRecord:
    """Mean cross-attention of a UNet over its calls, heads and layers."""

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self._sums: dict[tuple[int, int], Tensor] = {}
        self._count = 0

    def maps(self) -> Tensor:
        """Attention of each position to each token, (rows, tokens, height, width) fp32; over the tokens it sums to 1.

        Layers of lower resolution are interpolated to the latents'.

        Raises:
            ValueError: the UNet was not called.
        """
        if not self._count:
            raise ValueError("no attention was recorded; call the UNet inside recorded_attention")
        resized = [interpolate(total, self._size, mode="bilinear") for total in self._sums.values()]
        return torch.stack(resized).sum(0) / self._count

    def add(self, attention: Any, hidden_states: Tensor, encoder_hidden_states: Tensor) -> None:
        """Add one layer's softmax(QK^T / sqrt(d)), which the layer computes again for itself or never materialises.

        Args:
            attention: diffusers' Attention.
            hidden_states: the layer's input, (rows, positions, channels).
            encoder_hidden_states: (rows, tokens, dim).
        """
        query, key = (
            projected.float().unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for projected in (attention.to_q(hidden_states), attention.to_k(encoder_hidden_states))
        )
        scores = (query @ key.transpose(-1, -2) * attention.scale).softmax(-1).mean(1)
        by_token = scores.transpose(1, 2)
        shape = self._shape(by_token.shape[-1])
        before = self._sums.get(shape)
        total = by_token.unflatten(-1, shape)
        self._sums[shape] = total if before is None else before + total
        self._count += 1

    def _shape(self, positions: int) -> tuple[int, int]:
        """Height and width of a layer with that many positions: the latents' own, halved some times."""
        height, width = self._size
        halved = ((-(-height // factor), -(-width // factor)) for factor in (1, 2, 4, 8, 16, 32))
        return next(shape for shape in halved if math.prod(shape) == positions)


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


@contextmanager
def recorded_attention(unet: Any, height: int, width: int) -> Iterator[AttentionRecord]:
    """Record the cross-attention of every call of `unet` inside; what it computes stays the same to the last bit.

    Args:
        unet: diffusers' UNet2DConditionModel; a compiled one runs uncompiled meanwhile.
        height: of the latents.
        width: of the latents.
    """
    record = AttentionRecord(height, width)
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name, module in unet.named_modules():
            if name.endswith(".attn2"):
                handle = module.register_forward_pre_hook(_hook(record), with_kwargs=True)
                stack.callback(handle.remove)
        yield record


def word_positions(tokenizer: Any, prompt: str) -> list[tuple[str, list[int]]]:
    """The words of a prompt, and where their tokens stand among the 77."""
    offsets = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    words = []
    for match in re.finditer(r"\S+", prompt):
        tokens = [index + 1 for index, (start, _) in enumerate(offsets) if match.start() <= start < match.end()]
        words.append((match.group(), tokens))
    return words


def label_maps(token_maps: Tensor, words: Sequence[tuple[str, list[int]]], tail_tokens: int) -> Tensor:
    """Add up the maps of one row, (tokens, h, w), to those of its words and its tail, (words + 1, h, w)."""
    tail = list(range(len(token_maps) - tail_tokens, len(token_maps)))
    return torch.stack([token_maps[tokens].sum(0) for tokens in (*(tokens for _, tokens in words), tail)]).cpu()


def attention_sheet(attention: AttentionMaps, title: str = "") -> Image.Image:
    """The picture, then a map a label, each from its lowest to its highest value, with its share of all attention."""
    cells = [attention.picture, *(_heat(attention.picture, one) for one in attention.maps)]
    words = ["", *(f"{label}: {share:.1%}" for label, share in zip(attention.labels, attention.shares, strict=True))]
    lines = [slice(start, start + _COLUMNS) for start in range(0, len(cells), _COLUMNS)]
    return contact_sheet(
        [cells[line] for line in lines], captions=[words[line] for line in lines], title=title, cell=160
    )


def _hook(record: AttentionRecord) -> Callable[..., None]:
    @torch.no_grad()
    def hook(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        record.add(attention, args[0], kwargs["encoder_hidden_states"])

    return hook


def _heat(picture: Image.Image, one: Tensor) -> Image.Image:
    """A map over a faint grey copy of its picture."""
    low, high = one.min(), one.max()
    strength = (255 * (one - low) / (high - low).clamp(min=1e-12)).round().to(torch.uint8).numpy()
    mask = Image.fromarray(strength).resize(picture.size, Image.Resampling.BICUBIC)
    faint = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.5)
    return Image.composite(ImageOps.colorize(mask, "#ffd400", "#b30000", mid="#ff7a00"), faint, mask)
