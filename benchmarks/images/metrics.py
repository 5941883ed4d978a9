"""How an edit is judged where nobody knows the truth: by CLIP, DINOv2 and LPIPS.

| metric | compares | range, better |
|---|---|---|
| `clip_t` | CLIP's embedding of the edit with that of the wish (Hessel et al. 2021) | -1 to 1, more |
| `clip_i` | CLIP's embedding of the edit with that of the source | -1 to 1, more |
| `dinov2` | DINOv2's class token of both (Ruiz et al. 2023 with DINO, Oquab et al. 2024) | -1 to 1, more |
| `lpips` | AlexNet's features at every place (Zhang et al. 2018) | from 0, less; but a free edit may lie far away |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks.optional import optional
from hiper.images import from_uint8

METRICS = ("clip_t", "clip_i", "dinov2", "lpips")
CLIP = "openai/clip-vit-large-patch14"
DINOV2 = "facebook/dinov2-base"
_LPIPS_SIDE = 256


@dataclass(frozen=True)
class Judge:
    """Networks that judge, each loaded when it is first asked for.

    Attributes:
        clip: hub id or folder of a CLIP.
        dinov2: hub id or folder of a DINOv2.
        device: where they compute.
    """

    clip: str = CLIP
    dinov2: str = DINOV2
    device: str = "cpu"

    def score(self, metric: str, edit: Image.Image, source: Image.Image, wish: str) -> float:
        """One metric of one edit.

        Args:
            metric: one of METRICS.
            edit: what was made.
            source: the subject's picture.
            wish: the target prompt.
        """
        measures: dict[str, Callable[[], Tensor]] = {
            "clip_t": lambda: cosine_similarity(self._clip_image(edit), self._clip_text(wish)),
            "clip_i": lambda: cosine_similarity(self._clip_image(edit), self._clip_image(source)),
            "dinov2": lambda: cosine_similarity(self._dino(edit), self._dino(source)),
            "lpips": lambda: self._lpips(_square(edit).to(self.device), _square(source).to(self.device)),
        }
        with torch.inference_mode():
            return float(measures[metric]())

    def _clip_image(self, picture: Image.Image) -> Tensor:
        network, processor, _ = self._loaded_clip
        features: Tensor = network.get_image_features(**self._pixels(processor, picture)).pooler_output
        return features

    def _clip_text(self, text: str) -> Tensor:
        network, _, tokenizer = self._loaded_clip
        tokens = tokenizer([text], padding=True, truncation=True, return_tensors="pt").to(self.device)
        features: Tensor = network.get_text_features(**tokens).pooler_output
        return features

    def _dino(self, picture: Image.Image) -> Tensor:
        network, processor = self._loaded_dino
        token: Tensor = network(**self._pixels(processor, picture)).pooler_output
        return token

    def _pixels(self, processor: Any, picture: Image.Image) -> Any:
        return processor([picture.convert("RGB")], return_tensors="pt").to(self.device)

    @cached_property
    def _loaded_clip(self) -> tuple[Any, Any, Any]:
        from transformers import AutoImageProcessor, CLIPModel, CLIPTokenizer

        network = CLIPModel.from_pretrained(self.clip).eval().to(self.device)
        return network, AutoImageProcessor.from_pretrained(self.clip), CLIPTokenizer.from_pretrained(self.clip)

    @cached_property
    def _loaded_dino(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, Dinov2Model

        network = Dinov2Model.from_pretrained(self.dinov2).eval().to(self.device)
        return network, AutoImageProcessor.from_pretrained(self.dinov2)

    @cached_property
    def _lpips(self) -> Any:
        return optional("lpips", "bench-images").LPIPS(net="alex", verbose=False).eval().to(self.device)


def _square(picture: Image.Image) -> Tensor:
    """(1, 3, side, side) in [-1, 1], as LPIPS wants it."""
    small = picture.convert("RGB").resize((_LPIPS_SIDE, _LPIPS_SIDE), Image.Resampling.LANCZOS)
    return from_uint8([np.asarray(small)])
