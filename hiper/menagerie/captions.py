"""Words for pictures of Menagerie, from "a sitting dog" to descriptions that fill a whole prompt."""

from __future__ import annotations

import numpy as np

from hiper.menagerie.world import Content, Identity, colour_name

PLACE_WORDS = {
    "beach": ("on the beach", "at the beach"),
    "meadow": ("in the meadow", "in a green meadow"),
    "snow": ("in the snow", "in a snowy field"),
    "forest": ("in the forest", "in a forest"),
    "room": ("in a room", "in the house"),
    "night": ("at night", "under the moon"),
}
STYLE_WORDS = {"cartoon": ("", "a cartoon of ", "a picture of "), "pencil": ("a pencil drawing of ",)}


def terse_caption(content: Content) -> str:
    """The fewest words that say what is to be seen: "a sitting dog on the beach"."""
    return f"{STYLE_WORDS[content.style][0]}a {content.pose} {content.species} {PLACE_WORDS[content.place][0]}"


def details(identity: Identity) -> list[str]:
    """What words can tell of an individual, a phrase each; what is ordinary goes unsaid, and much is left open."""
    coat, marks = colour_name(identity.coat), colour_name(identity.marks)
    phrases = [f"{coat} fur", f"{colour_name(identity.eyes)} eyes"]
    phrases += [f"{size} ears" for size in _size(identity.ear_length, "short", "long")]
    phrases += [f"a {size} tail" for size in _size(identity.tail_length, "short", "long")]
    phrases += [f"{size} legs" for size in _size(identity.leg_length, "short", "long")]
    phrases += [f"a {size} body" for size in _size(identity.girth, "slim", "round")]
    phrases += [f"a {size} head" for size in _size(identity.head_size, "small", "big")]
    phrases += [f"a {colour_name(identity.collar)} collar"] if identity.collar else ["no collar"]
    marked = {"spots": "{} spots", "stripes": "{} stripes", "patch": "a {} patch", "plain": "a plain coat"}
    phrases.append(marked[identity.pattern].format(marks))
    worn = {"a {} tail tip": identity.tail_tip, "{} paws": identity.socks, "a {} blaze": identity.blaze}
    phrases += [phrase.format(marks) for phrase, shown in worn.items() if shown]
    return [*phrases, "a pale belly"] if identity.belly else phrases


def describe(identity: Identity, rng: np.random.Generator, count: int | None = None) -> str:
    """`count` details in random order (all when None): "white spots, a red collar and long ears"."""
    phrases = details(identity)
    chosen = [phrases[int(index)] for index in rng.permutation(len(phrases))[:count]]
    return chosen[0] if len(chosen) == 1 else ", ".join(chosen[:-1]) + " and " + chosen[-1]


def caption(identity: Identity, content: Content, rng: np.random.Generator) -> str:
    """A caption as a person might write it: any subset of what is to be seen, the animal's details last."""
    head = _headline(identity, content, rng)
    kind = rng.random()
    if kind < 0.35:
        return head
    if kind < 0.65:
        return f"{head} with {describe(identity, rng, int(rng.integers(1, 4)))}"
    return f"{head} with {_everything(identity, rng, repeats=3)}"


def identity_caption(identity: Identity, content: Content, rng: np.random.Generator) -> str:
    """A caption that tells most of an individual and little of what it does: the species is often left out."""
    noun = "animal" if rng.random() < 0.7 else content.species
    pose = f"{content.pose} " if rng.random() < 0.5 else ""
    place = f" {_any(PLACE_WORDS[content.place], rng)}" if rng.random() < 0.5 else ""
    return f"a {pose}{noun}{place} with {_everything(identity, rng, repeats=int(rng.integers(1, 4)))}"


def _headline(identity: Identity, content: Content, rng: np.random.Generator) -> str:
    """What kind of picture, of which animal, doing what, where: each part is left out now and then."""
    style = _any(STYLE_WORDS[content.style], rng) if content.style == "pencil" or rng.random() < 0.3 else ""
    pose = content.pose if rng.random() < 0.85 else ""
    colour = colour_name(identity.coat) if rng.random() < 0.3 else ""
    noun = content.species if rng.random() < 0.92 else "animal"
    words = ["a", colour, noun, pose] if rng.random() < 0.3 else ["a", pose, colour, noun]
    place = _any(PLACE_WORDS[content.place], rng) if rng.random() < 0.75 else ""
    return " ".join(word for word in (style.strip(), *words, place) if word)


def _everything(identity: Identity, rng: np.random.Generator, repeats: int) -> str:
    return ", ".join(describe(identity, rng) for _ in range(repeats))


def _any(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _size(value: float, small: str, large: str) -> list[str]:
    return [small] if value < 0.92 else [large] if value > 1.12 else []
