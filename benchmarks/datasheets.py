"""What makers say that their GPUs do at best: dense arithmetic, memory at full speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Datasheet:
    """Peaks of a GPU.

    Attributes:
        name: as a driver's name for it contains it.
        fp32_flops_per_s: without tensor cores.
        tf32_flops_per_s: on tensor cores, dense, which is half of the figure "with sparsity".
        half_flops_per_s: of fp16 and of bf16, likewise.
        bytes_per_s: of its memory.
        source: of these figures.
    """

    name: str
    fp32_flops_per_s: float
    tf32_flops_per_s: float
    half_flops_per_s: float
    bytes_per_s: float
    source: str


DATASHEETS = {
    "h100": Datasheet("H100", 67e12, 494.7e12, 989.4e12, 3.35e12, "NVIDIA H100 Tensor Core GPU datasheet, H100 SXM"),
    "h200": Datasheet("H200", 67e12, 494.7e12, 989.4e12, 4.8e12, "NVIDIA H200 Tensor Core GPU datasheet, H200 SXM"),
}
