"""Oracles: the toy bundle's text encoder is a table of seven rows; hiper's own splice."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from engine.bundle import open_bundle
from engine.prompt_encoder import PromptEncoder, splice
from hiper.tail import splice as hiper_splice

START, END, PAD, A, DOG = 0, 1, 2, 4, 5


@pytest.fixture
def encoder(toy_bundle: Path) -> PromptEncoder:
    return PromptEncoder(open_bundle(toy_bundle, "onnxruntime"), max_cached=2)


def test_a_prompt_is_padded_and_encoded(encoder: PromptEncoder) -> None:
    table = np.random.default_rng(0).standard_normal((7, 8), np.float32)
    expected = table[[START, A, DOG, END, *[PAD] * 73]]
    np.testing.assert_array_equal(encoder.encode("a dog"), expected)


def test_the_texts_used_last_are_encoded_once(encoder: PromptEncoder) -> None:
    network = encoder._bundle.__dict__["text_encoder"] = Mock(wraps=encoder._bundle.text_encoder)
    for prompt in ["a dog", "a cat", "a dog", "", "a dog"]:
        encoder.encode(prompt)
    assert network.call_count == 3
    encoder.encode("a cat")
    assert network.call_count == 4


def test_splice_equals_hiper() -> None:
    generator = torch.Generator().manual_seed(0)
    embedding, tail = torch.randn(77, 8, generator=generator), torch.randn(5, 8, generator=generator)
    expected = hiper_splice(embedding[None], tail, 0.8)[0].numpy()
    np.testing.assert_array_equal(splice(embedding.numpy(), tail.numpy(), 0.8), expected)
