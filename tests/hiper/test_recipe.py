"""Presets, and the recommendations that a model brings; the reader is fuzzed."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiper.errors import ModelError
from hiper.fit import FitConfig
from hiper.recipe import PRESETS, RECIPE_NAME, Recipe, choose_config, read_recipe


def test_people_need_more_rows():
    assert [choose_config("paper", subject).tail_tokens for subject in ("animal", "object", "person")] == [5, 5, 10]


def test_a_recipe_changes_fast_and_never_paper():
    recipe = Recipe(learning_rate=4e-2, steps=99)
    assert choose_config("fast", "animal", recipe) == replace(PRESETS["fast"], learning_rate=4e-2, steps=99)
    assert choose_config("paper", "animal", recipe) == FitConfig()
    assert choose_config("fast", "animal", Recipe()) == choose_config("fast")


def test_what_somebody_chose_comes_first():
    recipe = Recipe(learning_rate=4e-2, steps=99)
    config = choose_config("fast", "person", recipe, steps=7, learning_rate=None, seed=3)
    assert config == replace(PRESETS["fast"], tail_tokens=10, learning_rate=4e-2, steps=7, seed=3)
    with pytest.raises(ValueError, match="steps is 0 but must be above 0"):
        choose_config("fast", steps=0)


def test_unknown_choices_name_the_known_ones():
    with pytest.raises(ValueError, match="preset is 'quick' but must be one of paper, fast"):
        choose_config("quick")
    with pytest.raises(ValueError, match="subject is 'fish' but must be one of animal, object, person"):
        choose_config("fast", "fish")


def test_a_model_without_a_recipe_has_an_empty_one(tmp_path):
    assert read_recipe(tmp_path) == Recipe()


def test_a_recipe_is_read(tmp_path):
    (tmp_path / RECIPE_NAME).write_text('{"learning_rate": 0.04, "steps": 160, "tail_strength": 1}')
    assert read_recipe(tmp_path) == Recipe(0.04, 160, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"lr": 1}', "an object of guidance_scale, learning_rate, num_inference_steps, steps, tail_strength"),
        ("[]", "it must be an object"),
        ('{"steps": 1.5}', "steps is 1.5 but must be of type int, above 0 and up to 1e6"),
        ('{"num_inference_steps": 0}', "num_inference_steps is 0 but must be of type int, above 0"),
        ('{"learning_rate": NaN}', "learning_rate is nan"),
        ('{"learning_rate": true}', "learning_rate is True but must be of type float"),
        (" " * 70_000, "larger than 65536 bytes"),
    ],
)
def test_a_wrong_recipe_is_an_error(tmp_path, text, message):
    (tmp_path / RECIPE_NAME).write_text(text)
    with pytest.raises(ModelError, match=f"{RECIPE_NAME} is no recipe: .*{message}.*; correct or delete it"):
        read_recipe(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["steps", "learning_rate", "x"]), inner),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_is_a_recipe_or_the_named_error(tmp_path, data):
    (tmp_path / RECIPE_NAME).write_bytes(data)
    try:
        config = choose_config("fast", recipe=read_recipe(tmp_path))
    except ModelError:
        return
    assert config.learning_rate > 0 and config.steps >= 1
