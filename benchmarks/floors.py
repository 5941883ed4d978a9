"""What does an edit of this model ask for, and what can this device do at best? The quotient is the floor of its time.

python -m benchmarks.floors --model menagerie
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import RECORDS, interleave, summary, write_record
from hiper.execution import Execution, has_fast_bf16, resolve
from hiper.models import StableDiffusion, load_model

QUESTION = "Operations and bytes that an edit needs at least, and the most that this device does of either in a second"
COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
GEMM_SIDE = {"cpu": 2048, "cuda": 8192}


def count(model: StableDiffusion) -> dict[str, dict[str, int]]:
    """Floating point operations (a multiply-add counts two) of one row of each network, and bytes of its weights.

    Counted by torch's FlopCounterMode over a real call: convolutions, matrix products and attention, which is all
    that matters. Attention runs in its plain form, since fused kernels hide their products from the counter.
    """
    side = model.image_size // model.vae_factor
    latents = torch.zeros(1, 4, side, side, device=model.device)
    embedding = torch.zeros(1, model.max_tokens, model.dim, device=model.device)
    image = torch.zeros(1, 3, model.image_size, model.image_size, device=model.device)
    vae: Any = model.vae
    calls: dict[str, tuple[Any, Callable[[], object]]] = {
        "text_encoder": (model.text_encoder, partial(model.encode_prompt, "a dog")),
        "unet": (model.unet, lambda: model.unet(latents, 500, embedding)),
        "decoder": (vae.decoder, partial(model.decode_latents, latents)),
        "encoder": (vae.encoder, partial(model.encode_image, image)),
    }
    return {name: {"flops": _flops(call), "weight_bytes": _bytes(network)} for name, (network, call) in calls.items()}


def _flops(call: Callable[[], object]) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _bytes(network: torch.nn.Module) -> int:
    """In fp32, as Menagerie and CPUs have them."""
    return 4 * sum(parameter.numel() for parameter in network.parameters())


def peaks(device: str, rounds: int, gemm_side: int, copy_bytes: int) -> dict[str, dict[str, Any]]:
    """The fastest large matrix product by precision, and the fastest copy of memory.

    Returns:
        By "fp32", "bf16", "fp16": `flops_per_s`; for "copy": `bytes_per_s`, read and written both counted. Each is of
        the fastest round: a peak is what was reached once.
    """
    kind = torch.device(device).type
    dtypes = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_fast_bf16(device) else {})
    dtypes |= {"fp16": torch.float16} if kind == "cuda" else {}
    cases: dict[str, Callable[[], object]] = {
        name: partial(_multiply, torch.ones(gemm_side, gemm_side, dtype=dtype, device=device))
        for name, dtype in dtypes.items()
    }
    if kind == "cpu":
        # PyTorch's matrix products leave half of an AMD processor's vectors unused, those of ONNX Runtime none.
        cases["fp32 onnxruntime"] = _onnx_product(gemm_side)
    source = torch.ones(copy_bytes // 4, device=device)
    target = torch.empty_like(source)
    cases["copy"] = partial(_copy, source, target)
    found = {name: summary(samples) for name, samples in interleave(cases, rounds).items()}
    return {name: figures | _rate(name, figures, gemm_side, copy_bytes) for name, figures in found.items()}


def _rate(name: str, figures: dict[str, Any], gemm_side: int, copy_bytes: int) -> dict[str, float]:
    fastest_s = min(figures["samples_ms"]) / 1e3
    if name == "copy":
        return {"bytes_per_s": 2 * copy_bytes / fastest_s}
    return {"flops_per_s": 2 * gemm_side**3 / fastest_s}


def _multiply(matrix: Tensor) -> None:
    product = matrix @ matrix
    _wait(product)


def _onnx_product(side: int) -> Callable[[], object]:
    """The same product by ONNX Runtime, with as many threads as PyTorch has."""
    import onnxruntime  # these two here, since a GPU's machine may have nothing but PyTorch
    from onnx import TensorProto
    from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

    matrix = make_tensor_value_info("matrix", TensorProto.FLOAT, [side, side])
    product = make_tensor_value_info("product", TensorProto.FLOAT, [side, side])
    graph = make_graph([make_node("MatMul", ["matrix", "matrix"], ["product"])], "gemm", [matrix], [product])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    model = make_model(graph, ir_version=8, opset_imports=[make_opsetid("", 17)]).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"matrix": np.ones((side, side), np.float32)})


def _copy(source: Tensor, target: Tensor) -> None:
    target.copy_(source)
    _wait(target)


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def main(
    model: Annotated[str, typer.Option(help="menagerie, or a folder")] = "menagerie",
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    device: str = "auto",
    gemm_side: Annotated[int | None, typer.Option(help="of the square matrices")] = None,
    copy_bytes: Annotated[int | None, typer.Option(help="of the copy")] = None,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Count operations and bytes, measure the device's peaks, and write a record."""
    device = resolve(Execution(device)).device
    kind = torch.device(device).type
    loaded = load_model(model, device=device)
    sizes = (gemm_side or GEMM_SIDE[kind], copy_bytes or COPY_BYTES[kind])
    results = {"networks": count(loaded), "peaks": peaks(device, rounds, *sizes)}
    settings = {"model": loaded.model_id, "image_size": loaded.image_size, "device": device, "rounds": rounds}
    settings |= {"threads": torch.get_num_threads(), "gemm_side": sizes[0], "copy_bytes": sizes[1]}
    name = f"floors-{Path(loaded.model_id).name}"
    path = write_record(name, QUESTION, settings, results, records, model_digest=loaded.digest)
    Console().print(*tables(results), f"record: {path}")


def tables(results: dict[str, Any]) -> tuple[Table, Table]:
    """What is asked for, and what there is."""
    asked, given = Table("network", "GFLOP a row", "MB of weights"), Table("peak", "GFLOP/s", "GB/s")
    for name, found in results["networks"].items():
        asked.add_row(name, f"{found['flops'] / 1e9:.2f}", f"{found['weight_bytes'] / 1e6:.1f}")
    for name, found in results["peaks"].items():
        rates = [f"{found[rate] / 1e9:.0f}" if rate in found else "" for rate in ("flops_per_s", "bytes_per_s")]
        given.add_row(name, *rates)
    return asked, given


if __name__ == "__main__":
    typer.run(main)
