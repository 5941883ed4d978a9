"""The pseudo-word of textual inversion: input vectors of the text encoder that belong to no token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hiper.models import StableDiffusion

# A prompt begins "a * sitting dog": after the start token and "a".
PLACE = 2


def pseudo_prompts(model: StableDiffusion, prompts: Sequence[str], count: int) -> Tensor:
    """Token ids of prompts "a …" with room for `count` vectors behind their first word, (batch, 77)."""
    return torch.tensor([_with_room(model, prompt, count) for prompt in prompts], device=model.device)


def first_vectors(model: StableDiffusion, nouns: Sequence[str], count: int) -> Tensor:
    """Where inversion starts, as in the paper: the vectors of the nouns, (batch, count, dim)."""
    table = model.text_encoder.get_input_embeddings().weight
    vectors = [table[_ids(model, noun)].mean(0) for noun in nouns]
    return torch.stack(vectors)[:, None].repeat(1, count, 1)


def encode_pseudo_word(model: StableDiffusion, ids: Tensor, vectors: Tensor) -> Tensor:
    """Prompt embeddings with the pseudo-word put in, (batch, 77, dim); gradients flow to the vectors.

    Args:
        model: its last hidden state is used.
        ids: of `pseudo_prompts`, (batch, 77).
        vectors: (batch, count, dim).
    """

    def put_in(module: Any, args: Any, output: Tensor) -> Tensor:
        return torch.cat([output[:, :PLACE], vectors, output[:, PLACE + vectors.shape[1] :]], 1)

    hook = model.text_encoder.get_input_embeddings().register_forward_hook(put_in)
    try:
        embedding: Tensor = model.text_encoder(ids).last_hidden_state
    finally:
        hook.remove()
    return embedding


def _with_room(model: StableDiffusion, prompt: str, count: int) -> list[int]:
    article, rest = prompt.split(maxsplit=1)
    tokenizer = model.tokenizer
    end = tokenizer.eos_token_id
    ids = [tokenizer.bos_token_id, *_ids(model, article), *[end] * count, *_ids(model, rest), end]
    return [*ids, *[tokenizer.pad_token_id] * (model.max_tokens - len(ids))]


def _ids(model: StableDiffusion, words: str) -> list[int]:
    return list(model.tokenizer(words, add_special_tokens=False).input_ids)
