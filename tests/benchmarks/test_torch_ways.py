"""Oracles: diffusers' pipeline for the reference sampler, a plain clock for the stages."""

import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import torch_ways
from benchmarks.stage_clock import StageClock
from benchmarks.ways import Job, check_way, open_way, runtime_of
from engine.runtimes import RuntimeOptions


def test_both_pipelines_make_the_same_picture_and_say_where_the_time_went(sd1_folder):
    job = Job(str(sd1_folder), "", steps=3, guidance_scale=4.0)
    pictures = []
    for way in ("diffusers", "reference"):
        opened = open_way(way, job)
        picture, timings = opened.make()
        assert picture.shape == (64, 64, 3) and len(timings.unet_ms) == 3
        assert timings.text_ms > 0 and timings.decode_ms > 0 and timings.other_ms > 0
        assert opened.make().picture.tolist() == picture.tolist()
        pictures.append(picture.astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_lower_precision_is_what_it_says(sd1_folder):
    from hiper.execution import has_fast_bf16

    if not has_fast_bf16("cpu"):
        pytest.skip("this processor has no bf16 instructions")
    assert open_way("diffusers-bf16", Job(str(sd1_folder), "")).path == {"dtype": "torch.bfloat16", "device": "cpu"}
    assert open_way("reference-bf16", Job(str(sd1_folder), "")).path["dtype"] == "bf16"


def test_a_compiler_that_compiles_nothing_is_an_error(sd1_folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    torch._dynamo.utils.counters.clear()
    opened = open_way("diffusers-compiled", Job(str(sd1_folder), "", steps=1))
    with pytest.raises(
        RuntimeError, match=r"^torch.compile was asked for but no graph was compiled; leave -compiled out$"
    ):
        opened.make()


def test_stages_add_up_what_was_watched():
    clock = StageClock("cpu")
    unet, text = clock.watch("unet", time.sleep), clock.watch("text", time.sleep)

    def work():
        text(0.02)
        unet(0.01)
        unet(0.03)
        time.sleep(0.01)
        return "picture"

    for _ in range(2):
        result, timings = clock.run(work)
        assert result == "picture"
        assert timings.text_ms >= 20 and timings.unet_ms[0] >= 10 and timings.unet_ms[1] >= 30
        assert timings.decode_ms == 0 and timings.other_ms >= 10 and len(timings.unet_ms) == 2


@pytest.mark.parametrize("way", ["diffusers-nhwc", "reference-nhwc"])
def test_another_layout_makes_the_same_picture(sd1_folder, way):
    job = Job(str(sd1_folder), "", steps=2, guidance_scale=4.0)
    plain, other = (open_way(name, job).make().picture.astype(int) for name in (way.removesuffix("-nhwc"), way))
    assert np.abs(plain - other).max() <= 1


def test_a_graph_is_recorded_once_and_replayed(sd1_folder, monkeypatch):
    """A recording that runs the function anew stands in for a GPU's."""
    recorded = []

    def graphed(function, *examples):
        recorded.append([tuple(example.shape) for example in examples])
        return function

    monkeypatch.setattr(torch_ways, "graphed", graphed)
    monkeypatch.setattr(torch_ways, "make_ready", lambda unet, asked: replace(asked, cuda_graph=False))
    job = Job(str(sd1_folder), "", steps=3, guidance_scale=4.0)
    assert (
        open_way("reference-graph", job).make().picture.tolist() == open_way("reference", job).make().picture.tolist()
    )
    assert recorded == [[(2, 4, 8, 8), (2,), (2, 77, 768)]]


def test_a_graph_needs_a_gpu_and_the_reference():
    with pytest.raises(ValueError, match=r"^there is no way 'diffusers-graph'; use one of diffusers, reference"):
        check_way("diffusers-graph")
    check_way("reference-fp16-nhwc-compiled-graph")
    assert runtime_of("onnxruntime-cuda-fast-graph") == ("onnxruntime-cuda", RuntimeOptions("fast", cuda_graph=True))
    assert runtime_of("openvino") == ("openvino", RuntimeOptions())
