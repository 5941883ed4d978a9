"""The edits that all servers are asked for: many subjects, each with a tail of its own that comes in the request."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.batching import make_requests
from engine.edit_request import EditRequest
from engine.manifest import Manifest
from engine.tail_file import serialize_tail_file


def make_wishes(manifest: Manifest, count: int, steps: Sequence[int], prompt: str | None = None) -> list[bytes]:
    """Bodies of requests.

    Args:
        manifest: of the bundle.
        count: of the wishes, all with different tails, seeds and, in turns, prompts.
        steps: that edits have, in turns.
        prompt: of all of them, instead of several.
    """
    edits = make_requests(manifest, count)
    return [
        _body(replace(edit, num_inference_steps=steps[index % len(steps)]), prompt, guidance_scale_of(manifest))
        for index, edit in enumerate(edits)
    ]


def guidance_scale_of(manifest: Manifest) -> float:
    """What the model recommends, else Stable Diffusion's usual."""
    return manifest.edit_defaults.guidance_scale or 7.5


def _body(edit: EditRequest, prompt: str | None, guidance_scale: float) -> bytes:
    assert edit.tail is not None
    wish = {
        "prompt": prompt or edit.target_prompt,
        "tail_file": base64.b64encode(serialize_tail_file(edit.tail)).decode(),
        "seed": edit.seed,
        "num_inference_steps": edit.num_inference_steps,
        "guidance_scale": guidance_scale,
    }
    return json.dumps(wish).encode()
