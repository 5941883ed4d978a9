"""Oracle: the same edit in PyTorch. A seed, a prompt and a tail mean one picture in both paths."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.bundle import open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor, Progress
from engine.errors import EditError
from engine.tail_file import TailFile
from hiper.execution import Execution
from hiper.models import StableDiffusion
from hiper.pipeline import HiPer
from hiper.tail import Tail, TailInfo

SETTINGS: list[dict[str, Any]] = [
    {"solver": "ddim", "num_inference_steps": 10},
    {"solver": "dpmpp_2m", "num_inference_steps": 8, "seed": 2**40 + 1},
    {"solver": "ddim", "num_inference_steps": 5, "guidance_scale": 1.0},
    {"solver": "dpmpp_2m", "num_inference_steps": 20, "negative_prompt": "a cat", "tail_strength": 0.3},
]


def tail_file(tail: Tail) -> TailFile:
    return TailFile(tail.vectors.numpy(), tail.initial.numpy(), tail.info)


@pytest.fixture(scope="module")
def tail(model: StableDiffusion) -> Tail:
    vectors = torch.randn(5, model.dim, generator=torch.Generator().manual_seed(1))
    info = TailInfo(model.model_id, model.digest, model.family, model.prediction_type, model.clip_skip, "a dog")
    return Tail(vectors, torch.zeros(5, model.dim), info)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: f"{settings['solver']}")
def test_engine_and_pytorch_make_the_same_picture(
    model: StableDiffusion, exported: Path, tail: Tail, settings: dict[str, Any]
) -> None:
    [expected] = HiPer(model, Execution()).edit(tail, "a dog on a cat", **settings)
    request = EditRequest("a dog on a cat", tail_file(tail), **settings)
    [result] = Editor(open_bundle(exported, "onnxruntime")).edit([request])
    difference = np.abs(result.image.astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 2 and np.asarray(expected).std() > 10


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_picture_does_not_depend_on_its_company(exported: Path, tail: Tail, runtime: str) -> None:
    """Bit by bit, in a call of the same shape, next to other steps, other tails and a poisoned edit."""
    pytest.importorskip(runtime)
    editor = Editor(open_bundle(exported, runtime), buckets=[8])
    own = tail_file(tail)
    requests = [EditRequest("a dog", own, seed=seed, num_inference_steps=3 + seed, solver="euler") for seed in range(3)]
    alone = [editor.edit([request])[0].image for request in requests]
    poisoned = replace(requests[0], tail=replace(own, tail=np.full_like(own.tail, np.nan)), num_inference_steps=9)
    pictures: dict[int, Any] = {}

    def keep(progress: Progress) -> None:
        if progress.done and progress.edit.request.num_inference_steps != 9:
            pictures[progress.edit.request.seed] = progress.picture()

    with pytest.raises(EditError):
        editor.edit([requests[0], poisoned, *requests[1:]], keep)
    for seed, image in enumerate(alone):
        np.testing.assert_array_equal(pictures[seed], image)
