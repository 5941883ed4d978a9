"""Prompts as embeddings, each text encoded once."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.prompt_check import check_prompt

Floats = NDArray[np.float32]


class PromptEncoder:
    """A bundle's tokenizer and text encoder.

    Args:
        bundle: that holds them.
        max_cached: texts whose embeddings are kept; the least recently used gives way.
    """

    def __init__(self, bundle: Bundle, max_cached: int = 256) -> None:
        self._bundle = bundle
        self._max_tokens = bundle.manifest.max_tokens
        self._max_cached = max_cached
        self._cached: OrderedDict[str, Floats] = OrderedDict()

    def check(self, prompt: str, tail_tokens: int) -> None:
        """Refuse a prompt that leaves no room for a tail; any thread may ask.

        Raises:
            PromptError: it is no text, or too long; the message names the limit and the words that do not fit.
        """
        check_prompt(prompt, self._bundle.tokenizer, self._max_tokens, tail_tokens)

    def encode(self, prompt: str) -> Floats:
        """The embedding of a checked prompt, (77, dim), not to be written to."""
        if prompt not in self._cached:
            if len(self._cached) == self._max_cached:
                self._cached.popitem(last=False)
            ids = np.array([self._bundle.tokenizer.encode(prompt).ids], np.int64)
            self._cached[prompt] = self._bundle.text_encoder({"input_ids": ids})["prompt_embedding"][0]
        self._cached.move_to_end(prompt)
        return self._cached[prompt]


def splice(prompt_embedding: Floats, tail: Floats, strength: float) -> Floats:
    """Replace the last rows of a prompt embedding by a learned tail (Han et al. 2023, fig. 2).

    Args:
        prompt_embedding: (77, dim).
        tail: learned rows, (tail_tokens, dim).
        strength: multiplier on the tail.
    """
    return np.concatenate([prompt_embedding[: len(prompt_embedding) - len(tail)], np.float32(strength) * tail])
