"""What a request for pictures may say; JSON and forms must mean the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.server.errors import ApiError
from engine.server.image_edits import check_options, named_tail, to_edits
from engine.server.image_requests import JSON_FIELDS, EditOptions, GenerationRequest, from_form
from engine.server.messages import EngineReady, ResolvedDefaults
from engine.server.settings import Settings

READY = EngineReady(
    model_id="toy",
    model_digest="0" * 64,
    family="toy",
    dim=8,
    max_tokens=77,
    image_size=32,
    runtime="onnxruntime",
    reason="it is here",
    precision="exact",
    max_rows=8,
    max_edits=4,
    edit_defaults=ResolvedDefaults(guidance_scale=3.0, num_inference_steps=50, tail_strength=0.8),
    warm_up_ms=1.0,
)
SETTINGS = Settings(max_steps=60, max_images_per_request=4)


def options(**fields: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": "a dog", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": None},
        {"prompt": "a" * 4001},
        {"n": 0},
        {"n": 9},
        {"n": "1"},
        {"n": True},
        {"n": 1.5},
        {"size": "huge"},
        {"size": "0x32"},
        {"response_format": "url"},
        {"output_format": "gif"},
        {"output_compression": 101},
        {"quality": "best"},
        {"background": "transparent"},
        {"stream": "yes"},
        {"stream": 1},
        {"partial_images": 11},
        {"seed": -1},
        {"seed": 2**64},
        {"num_inference_steps": 0},
        {"num_inference_steps": 1001},
        {"guidance_scale": float("nan")},
        {"guidance_scale": float("inf")},
        {"guidance_scale": -1},
        {"guidance_interval": [0.5]},
        {"guidance_interval": [0.5, 0.2]},
        {"guidance_interval": [0, 1.1]},
        {"guidance_interval": ["0", "1"]},
        {"tail_strength": float("-inf")},
        {"negative_prompt": None},
        {"solver": "plms"},
        {"tail": ""},
        {"tail_file": "no base64!"},
        {"mask": "x"},
        {"unknown": 1},
    ],
    ids=lambda fields: "-".join(f"{name}={value!r:.12}" for name, value in fields.items()),
)
def test_json_beyond_its_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(**fields)


def test_whole_number_is_an_integer_however_it_is_written() -> None:
    assert options(n=2.0, seed=3.0) == options(n=2, seed=3)


def test_null_asks_for_the_default_where_openai_has_it() -> None:
    nullable = ["model", "n", "size", "response_format", "output_format", "output_compression", "quality"]
    nullable += ["background", "moderation", "stream", "partial_images", "style"]
    assert options(**dict.fromkeys(nullable)).model_dump() == options().model_dump()


def test_form_fields_that_are_json_are_those_that_are_no_texts() -> None:
    kinds = EditOptions.model_json_schema()["properties"]
    texts = {name for name, kind in kinds.items() if "string" in _types(kind)}
    assert kinds.keys() - texts == JSON_FIELDS


def _types(kind: dict[str, Any]) -> set[str]:
    return {kind["type"]} if "type" in kind else {one["type"] for one in kind["anyOf"]}


FIELDS = st.fixed_dictionaries(
    {"prompt": st.text(min_size=1, max_size=20).filter(str.strip)},
    optional={
        "n": st.integers(1, 8),
        "seed": st.integers(0, 2**64 - 1),
        "stream": st.booleans(),
        "guidance_scale": st.floats(0, 100),
        "guidance_interval": st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
        "negative_prompt": st.text(max_size=20),
        "output_format": st.sampled_from(["png", "jpeg", "webp"]),
        "tail": st.text(min_size=1, max_size=20),
    },
)


@given(FIELDS)
def test_form_means_what_json_means(fields: dict[str, Any]) -> None:
    form = {name: [value if isinstance(value, str) else json.dumps(value)] for name, value in fields.items()}
    assert from_form(form) == EditOptions.model_validate(fields)
    if "guidance_interval" in fields:
        form["guidance_interval"] = [json.dumps(part) for part in fields["guidance_interval"]]
        assert from_form(form) == EditOptions.model_validate(fields)


@pytest.mark.parametrize(
    "texts",
    [
        {"prompt": ["a dog", "a cat"]},
        {"prompt": ["a dog"], "n": ["1", "2"]},
        {"prompt": ["a dog"], "n": ["one"]},
        {"prompt": ["a dog"], "n": [""]},
        {"prompt": ["a dog"], "n": ["null"]},
        {"prompt": ["a dog"], "stream": ["yes"]},
        {"prompt": ["a dog"], "guidance_scale": ["NaN"]},
        {"prompt": ["a dog"], "seed": ["[" * 100_000]},
        {"prompt": ["a dog"], "style": ["vivid"]},
        {"n": ["1"]},
    ],
)
def test_form_that_says_something_else_is_refused(texts: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        from_form(texts)


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(sorted(JSON_FIELDS)), st.lists(st.text(), min_size=1)))
def test_any_form_is_read_or_refused(texts: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        from_form({name: values for name, values in texts.items() if name != "prompt"})


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"size": "1024x1024"}, "size", "this model makes 32x32"),
        ({"n": 5}, "n", "one request may ask for 4"),
        ({"num_inference_steps": 61}, "num_inference_steps", "at most 60"),
        ({"output_compression": 50}, "output_compression", "not for png"),
        ({"partial_images": 1}, "partial_images", "need stream=true"),
    ],
)
def test_what_this_server_cannot_do_is_refused(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        check_options(options(**fields), READY, SETTINGS)
    assert (caught.value.status, caught.value.param) == (422, param)


@pytest.mark.parametrize(
    "fields",
    [{}, {"size": "32x32"}, {"size": "auto"}, {"n": 4}, {"num_inference_steps": 60}, {"output_compression": 100}],
)
def test_what_this_server_can_do_passes(fields: dict[str, Any]) -> None:
    check_options(options(**fields), READY, SETTINGS)


@pytest.mark.parametrize(
    ("fields", "tail"),
    [
        ({}, None),
        ({"model": "toy"}, None),
        ({"model": "hiper"}, None),
        ({"model": "hiper:tail_1"}, "tail_1"),
        ({"tail": "tail_1"}, "tail_1"),
        ({"tail": "tail_1", "model": "toy"}, "tail_1"),
    ],
)
def test_tail_is_named_in_two_ways(fields: dict[str, Any], tail: str | None) -> None:
    assert named_tail(options(**fields), READY, has_file=False) == tail


@pytest.mark.parametrize(
    ("fields", "has_file"),
    [({"model": "hiper:a", "tail": "a"}, False), ({"tail": "a"}, True), ({"model": "hiper:a"}, True)],
)
def test_tail_named_twice_is_refused(fields: dict[str, Any], has_file: bool) -> None:
    with pytest.raises(ApiError, match="more than once"):
        named_tail(options(**fields), READY, has_file)


def test_unknown_model_is_not_found() -> None:
    with pytest.raises(ApiError, match="gpt-image-1 is not served here; use toy") as caught:
        named_tail(options(model="gpt-image-1"), READY, has_file=False)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_pictures_of_a_request_have_seeds_in_a_row() -> None:
    edits = to_edits(options(n=3, seed=2**64 - 2, partial_images=2, stream=True), b"tail", "ann", 5.0)
    assert [edit.seed for edit in edits] == [2**64 - 2, 2**64 - 1, 0]
    assert {(edit.user, edit.timeout_s, edit.tail, edit.previews) for edit in edits} == {("ann", 5.0, b"tail", 2)}
    assert to_edits(options(), None, "ann", 5.0)[0].seed != to_edits(options(), None, "ann", 5.0)[0].seed
