"""Whether a bundle can do what is asked of it, and with which settings; needs no network, and any thread may ask."""

from dataclasses import replace
from typing import TypeVar

from tokenizers import Tokenizer

from engine.edit_request import CheckedEdit, EditRequest
from engine.errors import PromptError
from engine.manifest import Manifest
from engine.noise import check_seed
from engine.prompt_check import check_prompt
from engine.schedule import NoiseSchedule, step_table
from engine.tail_check import check_tail

Value = TypeVar("Value")


def check_request(
    request: EditRequest, manifest: Manifest, schedule: NoiseSchedule, tokenizer: Tokenizer
) -> CheckedEdit:
    """Fill in what tail and model recommend, and refuse what cannot be done.

    Raises:
        PromptError: a prompt is empty or too long.
        TailError: the tail is for another model.
        ValueError: a number is out of its range.
    """
    if not request.target_prompt.strip():
        raise PromptError("prompt is empty but must say what is to be seen; write a few words, like 'a standing dog'")
    tail = request.tail
    if tail is not None:
        check_tail(tail.info, tail.tail.shape[1], manifest)
    check_prompt(request.target_prompt, tokenizer, manifest.max_tokens, 0 if tail is None else len(tail.tail))
    check_prompt(request.negative_prompt, tokenizer, manifest.max_tokens, 0)
    check_seed(request.seed)
    return _complete(request, manifest, schedule)


def _complete(request: EditRequest, manifest: Manifest, schedule: NoiseSchedule) -> CheckedEdit:
    tail, defaults = request.tail, manifest.edit_defaults
    suggested = defaults.tail_strength if tail is None else tail.info.tail_strength
    strength = _first(request.tail_strength, suggested, 0.8)
    scale = _first(request.guidance_scale, defaults.guidance_scale, 7.5)
    steps = _first(request.num_inference_steps, defaults.num_inference_steps, 50)
    complete = replace(request, tail_strength=strength, guidance_scale=scale, num_inference_steps=steps)
    return CheckedEdit(complete, step_table(schedule, request.solver, steps), strength, scale)


def _first(*values: Value | None) -> Value:
    """The first that is not None."""
    return next(value for value in values if value is not None)
