"""The manifest: reads what was written and refuses all else, whatever somebody did to it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.manifest import Manifest, parse_manifest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory, toy_writer: Any) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("bundle")
    toy_writer(folder)
    return json.loads((folder / "manifest.json").read_bytes())


def test_reads_a_manifest(valid: dict[str, Any]) -> None:
    manifest = parse_manifest(json.dumps(valid).encode())
    assert manifest.schedule.load().prediction_type == "epsilon"
    assert manifest.networks["unet"].inputs[0].shape == ("rows", 4, 4, 4)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_refuses_anything_else(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_manifest(text)


@given(st.data())
def test_a_changed_value_is_read_or_refused_but_never_crashes(valid: dict[str, Any], data: st.DataObject) -> None:
    changed = json.loads(json.dumps(valid))
    place: Any = changed
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(min(len(place), 3))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    try:
        assert isinstance(parse_manifest(json.dumps(changed).encode()), Manifest)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "hiper.bundle/2"}, "its format is 'hiper.bundle/2' and this version reads 'hiper.bundle/1'"),
        ({"networks": {}}, "networks are missing instead of text_encoder, unet, decoder, encoder"),
        ({"dim": 0}, "dim is 0; it must be more than nothing"),
        ({"latent_scale": -1.0}, "latent_scale is -1.0; it must be more than nothing"),
        ({"tokenizer": {"name": "../x", "size_bytes": 1, "sha256": "0" * 64}}, "'../x' is no plain file name"),
        ({"tokenizer": {"name": ".x", "size_bytes": 1, "sha256": "0" * 64}}, "'.x' is no plain file name"),
        ({"tokenizer": {"name": "x", "size_bytes": 1, "sha256": "0"}}, "the digest of x is not a SHA-256"),
    ],
)
def test_says_what_is_wrong(valid: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_manifest(json.dumps(valid | change).encode())
    assert str(caught.value).startswith(message)
