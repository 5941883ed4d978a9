"""Prompts as embeddings, each text encoded once."""

import numpy as np

from engine.bundle import Bundle
from engine.recent import Recent
from engine.row_kernels import Floats


class PromptEncoder:
    """A bundle's tokenizer and text encoder.

    Args:
        bundle: that holds them.
        max_cached: texts whose embeddings are kept; the least recently used gives way.
    """

    def __init__(self, bundle: Bundle, max_cached: int = 256) -> None:
        self._bundle = bundle
        self._embeddings: Recent[Floats] = Recent(max_cached)

    def encode(self, prompt: str) -> Floats:
        """The embedding of a checked prompt, (77, dim), not to be written to."""
        return self._embeddings.get(prompt, lambda: self._encode(prompt))

    def _encode(self, prompt: str) -> Floats:
        ids = np.array([self._bundle.tokenizer.encode(prompt).ids], np.int64)
        embedding: Floats = self._bundle.text_encoder({"input_ids": ids})["prompt_embedding"][0]
        return embedding


def splice(prompt_embedding: Floats, tail: Floats, strength: float) -> Floats:
    """Replace the last rows of a prompt embedding by a learned tail (Han et al. 2023, fig. 2).

    Args:
        prompt_embedding: (77, dim).
        tail: learned rows, (tail_tokens, dim).
        strength: multiplier on the tail.
    """
    return np.concatenate([prompt_embedding[: len(prompt_embedding) - len(tail)], np.float32(strength) * tail])
