"""Train the text encoder of Menagerie: by contrast with pictures (Radford et al. 2021), and to keep words apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from hiper.images import from_uint8
from hiper.menagerie.captions import caption
from hiper.menagerie.render import render
from hiper.menagerie.tokenizer import END, MAX_TOKENS, train_tokenizer
from hiper.menagerie.train.loop import Plan, run
from hiper.menagerie.world import sample_content, sample_framing, sample_identity

WORDS_WEIGHT = 0.1


@dataclass(frozen=True)
class TextConfig:
    """How long and how wide; `samples` counts picture-caption pairs."""

    samples: int = 64_000
    batch: int = 256
    learning_rate: float = 1e-3
    width: int = 128
    checkpoint_steps: int = 25


class ImageTower(nn.Module):
    """Pictures (batch, 3, 128, 128) in [-1, 1] to unit vectors (batch, width)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        channels = (3, 24, 48, 96, 128)
        stages = [
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.GroupNorm(8, o), nn.SiLU())
            for i, o in pairwise(channels)
        ]
        self.layers = nn.Sequential(nn.AvgPool2d(2), *stages, nn.Flatten(), nn.Linear(128 * 16, width))

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors whose dot product with a caption's is their likeness."""
        return nn.functional.normalize(self.layers(images), dim=-1)


class WordReader(nn.Module):
    """Guesses from a position of a prompt embedding which tokens came before it.

    Contrast alone leaves words alike that a small image tower has not learnt to tell apart; this keeps them apart.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.guess = nn.Linear(width, vocabulary)

    def loss(self, embedding: Tensor, input_ids: Tensor, positions: int = 4) -> Tensor:
        """Binary cross entropy in nats per position, summed over the vocabulary, at random positions.

        Args:
            embedding: last hidden state, (batch, 77, width).
            input_ids: the tokens behind it, (batch, 77).
            positions: read per prompt.
        """
        chosen = torch.randint(input_ids.shape[1], (len(input_ids), positions))
        seen = nn.functional.one_hot(input_ids, self.vocabulary).cummax(1).values
        rows = torch.arange(len(input_ids))[:, None]
        logits = self.guess(embedding[rows, chosen].float())
        truth = seen[rows, chosen].float()
        return nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(-1).mean()


class Matcher(nn.Module):
    """The text encoder with its projection, the image tower, the temperature, and the reader of words."""

    def __init__(self, text_encoder: CLIPTextModel, width: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.projection = nn.Linear(width, width, bias=False)
        self.images = ImageTower(width)
        self.log_scale = nn.Parameter(torch.tensor(2.6))
        self.words = WordReader(text_encoder.config.vocab_size, width)

    def forward(self, images: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The symmetric contrastive loss plus that of the words, and the share of captions that find their picture."""
        output = self.text_encoder(input_ids)
        captions = nn.functional.normalize(self.projection(output.pooler_output), dim=-1)
        logits = self.log_scale.exp() * self.images(images) @ captions.T
        truth = torch.arange(len(images))
        contrast = nn.functional.cross_entropy(logits, truth) + nn.functional.cross_entropy(logits.T, truth)
        found = (logits.argmax(0) == truth).float().mean()
        return contrast / 2 + WORDS_WEIGHT * self.words.loss(output.last_hidden_state, input_ids), found


def new_text_encoder(tokenizer: CLIPTokenizer, width: int) -> CLIPTextModel:
    """A CLIP text model of three layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def open_tokenizer(folder: Path) -> CLIPTokenizer:
    """The vocabulary in `folder`, learnt from 20,000 captions when there is none yet."""
    if not (folder / "vocab.json").exists():
        rng = np.random.default_rng(5)
        train_tokenizer((caption(sample_identity(rng), sample_content(rng), rng) for _ in range(20_000)), folder)
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token=END, model_max_length=MAX_TOKENS
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (captions, 77), cut and padded with the end token as in Stable Diffusion 1.x."""
    encoded = tokenizer(captions, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


def pair_batch(tokenizer: CLIPTokenizer, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Pictures (count, 3, 128, 128) in [-1, 1] and the token ids of a caption for each."""
    rng = np.random.default_rng((2, seed))
    images, captions = [], []
    for _ in range(count):
        identity, content = sample_identity(rng), sample_content(rng)
        images.append(render(identity, content, sample_framing(rng)))
        captions.append(caption(identity, content, rng))
    return from_uint8(images), tokenize(tokenizer, captions)


def train(folder: Path, config: TextConfig) -> None:
    """Train until `config.samples`; started again, goes on from the last checkpoint."""
    torch.manual_seed(0)
    tokenizer = open_tokenizer(folder / "tokenizer")
    matcher = Matcher(new_text_encoder(tokenizer, config.width), config.width)
    found: list[float] = []

    def loss(seed: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            value: Tensor
            value, hits = matcher(*pair_batch(tokenizer, seed, config.batch))
        found[:] = [*found[-9:], float(hits)]
        return value

    run(
        matcher,
        loss,
        Plan(config.samples // config.batch, config.learning_rate, 0.99, config.checkpoint_steps),
        folder / "text.pt",
        report=lambda: f"{sum(found) / len(found):.0%} of captions find their picture among {config.batch}",
    )
