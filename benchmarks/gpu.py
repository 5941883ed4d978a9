"""The suite for a machine with an NVIDIA GPU: Stable Diffusion 1.x and 2.x at 512 pixels, with random weights."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.suite import Step, export, script

# Of one call: machines with a GPU are often lent by the minute.
LIMIT_MINUTES = 8.0
FIT_ROWS = (1, 2, 4, 8)
EDITS = (1, 2, 4, 8, 16)
PLAN_ROWS = (2, 4, 8, 16, 32)

_FIT_CASES = ("published", "bf16-sdpa", "bf16-xformers", "bf16-compiled", "bf16-graph")
_TORCH_WAYS = ("diffusers-fp16", "diffusers-fp16-compiled", "reference-fp16-compiled")
_TENSORRT = ("tensorrt", "cuda.bindings")


def gpu(device: str = "cuda", tiny: bool = False) -> list[Step]:
    """The steps, each short enough for a call of LIMIT_MINUTES.

    Args:
        device: "cuda"; "cpu" tries the suite itself, with what a CPU has in place of what it lacks.
        tiny: networks of a few thousand weights in place of Stable Diffusion's.
    """
    models = ("tiny",) if tiny else ("sd1", "sd2")
    return [step for model in models for step in _steps(model, device, brief=tiny)]


def _steps(model: str, device: str, brief: bool) -> Iterator[Step]:
    folder, bundle, on_gpu = f"FOLDER/{model}", f"FOLDER/{model}.bundle", device == "cuda"
    sizes = ("--gemm-side", "128", "--copy-bytes", "1048576") if brief else ()
    yield Step(f"model-{model}", ("-m", "benchmarks.random_model", model, folder), 2)
    yield Step(f"floors-{model}", script("floors", "--model", folder, "--device", device, *sizes), 1.5)
    for rows in FIT_ROWS:
        yield Step(f"fit-{model}-{rows}", _fit(model, device, rows, brief), 5)
    precision = "fp16" if on_gpu else "fp32"
    yield Step(f"bundle-{model}", export(folder, f"{model}.bundle", "--precision", precision, "--force"), 6)
    runtimes = ["onnxruntime-cuda"] if on_gpu else ["onnxruntime"]
    if on_gpu:
        plans = [word for rows in PLAN_ROWS for word in ("--rows", str(rows))]
        command = export(folder, f"{model}.bundle", "--precision", precision, "--tensorrt", *plans)
        yield Step(f"plans-{model}", command, 8, needs=_TENSORRT)
        runtimes += ["tensorrt"] if not Step("", (), needs=_TENSORRT).lacking else []
    torch_ways = _TORCH_WAYS if on_gpu else ("diffusers", "reference-compiled")
    ways = [*torch_ways, *runtimes]
    steps, rounds = ("3", "2") if brief else ("50", "10")
    common = ("--device", device, "--rounds", rounds)
    yield Step(f"edit-{model}", script("edit", folder, bundle, *_ways(ways), "--steps", steps, *common), 6)
    counts = [word for count in (EDITS[:2] if brief else EDITS) for word in ("--edits", str(count))]
    ways = [torch_ways[0], *runtimes]
    yield Step(f"rows-{model}", script("rows", bundle, "--model", folder, *_ways(ways), *counts, *common), 5)


def _fit(model: str, device: str, rows: int, brief: bool) -> tuple[str, ...]:
    cases = _FIT_CASES if device == "cuda" else ("published", "fp32")
    chosen = [word for case in cases for word in ("--case", case)]
    return script(
        "fit", "--model", model, "--device", device, "--rows", str(rows), *chosen, "--rounds", "2" if brief else "15"
    )


def _ways(ways: list[str]) -> list[str]:
    return [word for way in ways for word in ("--way", way)]
