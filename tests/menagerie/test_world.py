"""The world against its own promises; oracle: the pixels that skia draws."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.menagerie.captions import caption, details, identity_caption, terse_caption
from hiper.menagerie.render import render, render_mask
from hiper.menagerie.world import (
    PLACES,
    POSES,
    SPECIES,
    STYLES,
    Content,
    Framing,
    colour_name,
    sample_content,
    sample_framing,
    sample_identity,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_same_arguments_give_the_same_bytes() -> None:
    identity, content, framing = sample_identity(rng()), sample_content(rng()), sample_framing(rng())
    np.testing.assert_array_equal(render(identity, content, framing), render(identity, content, framing))


def test_every_content_gives_another_picture() -> None:
    identity = sample_identity(rng())
    contents = [Content(*facts) for facts in product(SPECIES, POSES, PLACES, STYLES)]
    pictures = [render(identity, content, Framing(), 32).tobytes() for content in contents]
    assert len(set(pictures)) == len(SPECIES) * len(POSES) * len(PLACES) * 2


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_hardly_anything_of_the_animal_leaves_the_picture(seed: int) -> None:
    drawn = rng(seed)
    mask = render_mask(sample_identity(drawn), sample_content(drawn), sample_framing(drawn), 64)
    covered = (mask > 127).mean()
    edge = np.concatenate([mask[0], mask[:, 0], mask[:, -1]])
    assert 0.06 < covered < 0.55
    assert (edge > 127).mean() < 0.15


def test_a_mirrored_animal_is_the_mirror_image() -> None:
    identity, content = sample_identity(rng(3)), Content("cat", "sitting", "snow")
    mask = render_mask(identity, content, Framing())
    mirrored = render_mask(identity, content, Framing(mirrored=True))
    assert np.abs(mask.astype(int) - mirrored[:, ::-1]).mean() < 0.5


def test_the_coat_fills_most_of_the_animal() -> None:
    identity = replace(sample_identity(rng(4)), coat=(0.2, 0.6, 0.6), pattern="plain", belly=False)
    picture = render(identity, Content("bear", "standing", "room"), Framing()) / 255
    mask = render_mask(identity, Content("bear", "standing", "room"), Framing()) > 250
    near = np.abs(picture - identity.coat).max(-1) < 0.06
    assert near[mask].mean() > 0.5


def test_scenery_changes_the_place_and_not_the_animal() -> None:
    identity, content = sample_identity(rng(5)), Content("dog", "lying", "meadow")
    first, second = (render(identity, content, Framing(scenery=seed)).astype(int) for seed in (1, 2))
    inside = render_mask(identity, content, Framing()) == 255
    assert np.abs(first - second)[inside].max() <= 2
    assert np.abs(first - second)[~inside].mean() > 1


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_captions_tell_only_what_is_to_be_seen(seed: int) -> None:
    drawn = rng(seed)
    identity, content = sample_identity(drawn), sample_content(drawn)
    text = caption(identity, content, drawn)
    assert not any(other in text for other in {*SPECIES} - {content.species})
    assert not any(other in text for other in {*POSES} - {content.pose})
    assert not any(f"{name} fur" in text for name in ("red", "green")) or colour_name(identity.coat) in text


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_an_identity_caption_tells_every_detail(seed: int) -> None:
    drawn = rng(seed)
    identity = sample_identity(drawn)
    text = identity_caption(identity, sample_content(drawn), drawn)
    assert all(phrase in text for phrase in details(identity))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Content("dog", "sitting", "beach"), "a sitting dog on the beach"),
        (Content("cat", "lying", "night", "pencil"), "a pencil drawing of a lying cat at night"),
    ],
)
def test_terse_captions(content: Content, words: str) -> None:
    assert terse_caption(content) == words
