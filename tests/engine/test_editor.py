"""Oracle: the toy bundle's networks are short formulas, so that a plain loop can make the same picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from engine.bundle import Bundle, open_bundle
from engine.edit_request import EditRequest, EditResult
from engine.editor import Editor, Progress
from engine.errors import BundleError, EditError, PromptError, TailError
from engine.runtimes import openvino_cpu
from engine.schedule import step_table
from engine.tail_file import TailFile
from engine.tail_info import TailInfo

TAIL = TailFile(
    tail=np.linspace(-1, 2, 40, dtype=np.float32).reshape(5, 8),
    tail_init=np.zeros((5, 8), np.float32),
    info=TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog", tail_strength=0.7),
)
REQUESTS = [
    EditRequest("a dog", TAIL, seed=1, num_inference_steps=4),
    EditRequest("a cat", TAIL, seed=2, num_inference_steps=7, solver="dpmpp_2m", tail_strength=1.0),
    EditRequest("a dog", seed=3, num_inference_steps=2, solver="euler", guidance_scale=1.0),
    EditRequest("dog", TAIL, seed=4, num_inference_steps=8, guidance_interval=(0.25, 0.75), negative_prompt="a cat"),
]


@pytest.fixture
def bundle(toy_bundle: Path) -> Bundle:
    return open_bundle(toy_bundle, "onnxruntime")


@pytest.fixture
def editor(bundle: Bundle) -> Editor:
    return Editor(bundle)


def embed(prompt: str) -> Any:
    words = {"a": 4, "dog": 5, "cat": 6}
    tokens = [0, *(words[word] for word in prompt.split()), 1]
    return np.random.default_rng(0).standard_normal((7, 8), np.float32)[tokens + [2] * (77 - len(tokens))]


def edit_plainly(bundle: Bundle, request: EditRequest) -> Any:
    """The picture as float64 arithmetic sees it."""
    cond, uncond = embed(request.target_prompt), embed(request.negative_prompt)
    if request.tail is not None:
        cond[-5:] = request.tail.tail * (request.tail_strength or 0.7)
    scale = request.guidance_scale or 3.0
    table = step_table(bundle.manifest.schedule.load(), request.solver, request.num_inference_steps or 50)
    latents = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(request.seed)).double().numpy()
    latents, x0_prev = latents * table.noise_scale, 0
    for step, timestep in enumerate(table.timesteps.tolist()):
        noise_pred = latents / 2 + timestep / 1000 + cond.mean()
        if scale > 1 and request.guidance_interval[0] <= step / len(table) < request.guidance_interval[1]:
            noise_pred += (scale - 1) * (cond.mean() - uncond.mean())
        p_x, p_m, k_x, k_0, k_1 = table.coefficients[step].tolist()
        x0 = p_x * latents + p_m * noise_pred
        latents, x0_prev = k_x * latents + k_0 * x0 + k_1 * x0_prev, x0
    return np.clip((latents[:3] + 1) * 127.5, 0, 255).transpose(1, 2, 0).repeat(8, 0).repeat(8, 1)


def assert_same(result: EditResult, expected: Any) -> None:
    assert result.image.dtype == np.uint8
    np.testing.assert_allclose(result.image, expected, atol=0.51)


def test_edits_equal_plain_loops(bundle: Bundle, editor: Editor) -> None:
    for result, request in zip(editor.edit(REQUESTS), REQUESTS, strict=True):
        assert_same(result, edit_plainly(bundle, request))


def test_an_edit_does_not_depend_on_its_company(bundle: Bundle) -> None:
    editor = Editor(bundle, buckets=[8])
    together = editor.edit(REQUESTS)
    for result, request in zip(together, REQUESTS, strict=True):
        np.testing.assert_array_equal(editor.edit([request])[0].image, result.image)


def test_a_large_network_is_compiled_before_the_first_edit_and_never_again(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_cpu, "_LARGE_SIZE_BYTES", 0)
    compiled: list[int] = []

    def count(*arguments: Any) -> Any:
        compiled.append(arguments[-1]["sample"][0] if "sample" in arguments[-1] else 0)
        return compile_for(*arguments)

    compile_for = openvino_cpu._compile
    monkeypatch.setattr(openvino_cpu, "_compile", count)
    editor = Editor(open_bundle(toy_bundle, "openvino"))
    editor.warm_up()
    assert [rows for rows in compiled if rows] == [2, 8] and editor.max_rows == 8
    editor.edit(REQUESTS * 2)
    assert [rows for rows in compiled if rows] == [2, 8]


def test_more_edits_than_rows_take_turns(bundle: Bundle) -> None:
    editor = Editor(bundle, buckets=[1, 2])
    for result, request in zip(editor.edit(REQUESTS), REQUESTS, strict=True):
        assert_same(result, edit_plainly(bundle, request))


def test_what_is_left_open_comes_from_tail_and_model(editor: Editor) -> None:
    [result] = editor.edit([EditRequest("a dog", TAIL, num_inference_steps=1)])
    assert (result.request.tail_strength, result.request.guidance_scale) == (0.7, 3.0)
    assert editor.check(EditRequest("a dog")).request.num_inference_steps == 50


def test_every_step_is_seen_and_the_last_estimate_is_the_picture(editor: Editor) -> None:
    seen: list[tuple[int, int, bool]] = []
    pictures: list[Any] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.step, progress.steps, progress.done))
        assert progress.preview().shape == (4, 4, 3)
        pictures.append(progress.picture())

    [result] = editor.edit([replace(REQUESTS[0], solver="euler")], watch)
    assert seen == [(1, 4, False), (2, 4, False), (3, 4, False), (4, 4, True)]
    np.testing.assert_array_equal(pictures[-1], result.image)
    assert (pictures[0] != result.image).any()


def test_a_callback_that_raises_cancels_and_leaves_nothing_behind(bundle: Bundle, editor: Editor) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    for _ in range(editor.max_edits):
        with pytest.raises(KeyboardInterrupt):
            editor.edit(REQUESTS[:2], stop)
    assert_same(editor.edit(REQUESTS[:1])[0], edit_plainly(bundle, REQUESTS[0]))


def test_an_infinite_edit_says_so_and_the_next_one_works(bundle: Bundle, editor: Editor) -> None:
    poisoned = replace(TAIL, tail=np.full((5, 8), np.nan, np.float32))
    for _ in range(editor.max_edits + 1):
        with pytest.raises(EditError, match="edit of 'a dog' became infinite; use a tail_strength"):
            editor.edit([replace(REQUESTS[0], tail=poisoned, num_inference_steps=1)])
    assert_same(editor.edit(REQUESTS[:1])[0], edit_plainly(bundle, REQUESTS[0]))


def test_a_runtime_that_fails_leaves_the_editor_usable(bundle: Bundle) -> None:
    unet = bundle.__dict__["unet"] = Mock(wraps=bundle.unet, inputs=bundle.unet.inputs)
    editor = Editor(bundle)
    unet.side_effect = MemoryError
    with pytest.raises(MemoryError):
        editor.edit(REQUESTS)
    unet.side_effect = None
    assert_same(editor.edit(REQUESTS[:1])[0], edit_plainly(bundle, REQUESTS[0]))


def test_timings_add_up(editor: Editor) -> None:
    [result] = editor.edit(REQUESTS[:1])
    timings = result.timings
    assert len(timings.unet_ms) == 4 and min(timings.text_ms, *timings.unet_ms, timings.decode_ms) > 0
    assert 0 < timings.other_ms < timings.total_ms


def test_warming_up_calls_the_unet_in_every_bucket(bundle: Bundle) -> None:
    bundle.__dict__["unet"] = Mock(wraps=bundle.unet, inputs=bundle.unet.inputs)
    Editor(bundle, buckets=[2, 4]).warm_up()
    assert [len(call.args[0]["sample"]) for call in bundle.unet.call_args_list] == [2, 4, 2]


WRONG: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (PromptError, "prompt is empty", {"target_prompt": " "}),
    (PromptError, "prompt has 71 tokens but 70 fit", {"target_prompt": "dog " * 71}),
    (PromptError, "prompt has 76 tokens but 75 fit", {"negative_prompt": "dog " * 76}),
    (TailError, "tail is 3 wide", {"tail": replace(TAIL, tail=np.zeros((5, 3), np.float32))}),
    (TailError, "family sd1", {"tail": replace(TAIL, info=replace(TAIL.info, family="sd1"))}),
    (ValueError, "seed is -1", {"seed": -1}),
    (ValueError, "solver is 'plms'", {"solver": "plms"}),
    (ValueError, "num_inference_steps is 0", {"num_inference_steps": 0}),
    (ValueError, "num_inference_steps is 1001", {"num_inference_steps": 1001}),
    (ValueError, "guidance_scale is nan but must be a finite number", {"guidance_scale": float("nan")}),
    (ValueError, "tail_strength is inf but must be a finite number", {"tail_strength": float("inf")}),
    (ValueError, "guidance_interval is 0.5 to 0.2; use two growing numbers", {"guidance_interval": (0.5, 0.2)}),
]


@pytest.mark.parametrize(("error", "message", "wishes"), WRONG, ids=[message for _, message, _ in WRONG])
def test_wrong_requests_are_refused(editor: Editor, error: type[Exception], message: str, wishes: Any) -> None:
    with pytest.raises(error, match=message):
        editor.check(EditRequest(**{"target_prompt": "a dog", "tail": TAIL, **wishes}))


@pytest.mark.parametrize(("height", "width"), [(64, 32), (32, 30), (-8, 32)])
def test_a_size_that_the_bundle_has_not_is_refused(bundle: Bundle, height: int, width: int) -> None:
    message = rf"makes pictures of 32 x 32 pixels, not of {height} x {width}; .* --size {height}x{width}"
    with pytest.raises(BundleError, match=message):
        Editor(bundle, height, width)
