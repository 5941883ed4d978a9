"""The suite for a machine with an NVIDIA GPU: Stable Diffusion 1.x and 2.x at 512 pixels, with random weights.

What is worth most comes first, for whoever has a GPU for one call only: the kernels, then SD 1.x's ladders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.optional import lacks_onnxruntime_cuda
from benchmarks.suite import Step, export, script

# Of one call: machines with a GPU are often lent by the minute.
LIMIT_MINUTES = 8.0
FIT_ROWS = (2, 4, 8)
EDITS = (1, 2, 4, 8, 16)
PLAN_ROWS = (2, 4, 8, 16, 32)

# As benchmarks/ladder.py has them. What compiles is a step of its own, so that each fits into a call.
_ATTENTION = ("bf16-nhwc-sdpa", "bf16-nhwc-cudnn", "bf16-nhwc-xformers", "bf16-nhwc-plain")
_EAGER = ("published", "fp32", "bf16-sdpa", *_ATTENTION)
_COMPILED = ("published", "bf16-nhwc-compiled", "bf16-nhwc-compiled-graph")
_ROWS = ("published", "bf16-nhwc-sdpa", "bf16-nhwc-compiled-graph")
_TORCH_WAYS = (
    "diffusers-fp16",
    "diffusers",
    "diffusers-fp16-nhwc",
    "reference-fp16-nhwc-compiled",
    "reference-fp16-nhwc-compiled-graph",
)
_ONNXRUNTIME = ("onnxruntime-cuda", "onnxruntime-cuda-graph")
_TENSORRT = ("tensorrt", "cuda.bindings")


def gpu(device: str = "cuda", tiny: bool = False) -> list[Step]:
    """The steps, each short enough for a call of LIMIT_MINUTES.

    Args:
        device: "cuda"; "cpu" tries the suite itself, with what a CPU has in place of what it lacks.
        tiny: networks of a few thousand weights in place of Stable Diffusion's.
    """
    models = ("tiny",) if tiny else ("sd1", "sd2")
    native = Step("native", script("native", "--device", device, "--folder", "FOLDER/native"), 3)
    return [native, *(step for model in models for step in _steps(model, device, brief=tiny))]


def _steps(model: str, device: str, brief: bool) -> Iterator[Step]:
    yield Step(f"model-{model}", ("-m", "benchmarks.random_model", model, f"FOLDER/{model}"), 2)
    yield from _fits(model, device, brief)
    sizes = ("--gemm-side", "128", "--copy-bytes", "1048576") if brief else ()
    yield Step(f"floors-{model}", script("floors", "--model", f"FOLDER/{model}", "--device", device, *sizes), 1.5)
    yield from _edits(model, device, brief)


def _fits(model: str, device: str, brief: bool) -> Iterator[Step]:
    on_gpu = device == "cuda"
    common = ("--model", model, "--device", device, "--rounds", "2" if brief else "15")

    def fit(cases: Sequence[str], *more: str) -> tuple[str, ...]:
        return script("fit", *common, *_each("case", cases if on_gpu else ("published", "fp32")), *more)

    yield Step(f"fit-{model}-1", fit(_EAGER), 6)
    yield Step(f"fit-{model}-compiled", fit(_COMPILED, "--label", "compiled"), 8)
    for rows in FIT_ROWS:
        yield Step(f"fit-{model}-{rows}", fit(_ROWS, "--rows", str(rows)), 8)


def _edits(model: str, device: str, brief: bool) -> Iterator[Step]:
    on_gpu = device == "cuda"
    folder, bundle, precision = f"FOLDER/{model}", f"FOLDER/{model}.bundle", "fp16" if on_gpu else "fp32"
    torch_ways = _TORCH_WAYS if on_gpu else ("diffusers", "reference-nhwc-compiled")
    common = ("--device", device, "--rounds", "2" if brief else "10")
    edit = ("edit", folder, bundle, "--steps", "3" if brief else "50", *common)
    yield Step(f"bundle-{model}", export(folder, f"{model}.bundle", "--precision", precision, "--force"), 6)
    yield Step(f"edit-{model}", script(*edit, *_each("way", torch_ways)), 8)
    runtimes = ["onnxruntime"]
    if on_gpu:
        runtimes, missing = [], lacks_onnxruntime_cuda()
        runtimes += [] if missing else _ONNXRUNTIME
        # Only so that the suite's record says why it is missing.
        yield from [Step(f"onnxruntime-cuda-{model}", (), missing=missing)] if missing else []
        plans = export(folder, f"{model}.bundle", "--precision", precision, "--tensorrt", *_each("rows", PLAN_ROWS))
        step = Step(f"plans-{model}", plans, 8, needs=_TENSORRT)
        runtimes += [] if step.lacking else ["tensorrt"]
        yield step
    ways = _each("way", [torch_ways[0], *runtimes])
    if runtimes:
        yield Step(f"edit-{model}-engine", script(*edit, *ways, "--label", "engine"), 6)
    counts = _each("edits", EDITS[:2] if brief else EDITS)
    yield Step(f"rows-{model}", script("rows", bundle, "--model", folder, *ways, *counts, *common), 5)


def _each(option: str, values: Sequence[object]) -> list[str]:
    return [word for value in values for word in (f"--{option}", str(value))]
