"""`hiper-doctor --tensorrt`: whether TensorRT works on this machine, and how fast."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hiper.cli.console import messages


def check_gpu() -> dict[str, Any]:
    """What the check of `export.doctor` finds, as JSON's types.

    Raises:
        RuntimeMissingError: TensorRT or the GPU is not here; the message says what brings it.
        BundleError: a plan cannot be built, or differs from PyTorch.
    """
    # The one step up from this package: what checks a GPU has to export first.
    from export.doctor import check_tensorrt

    with messages().status("loading menagerie") as status:
        return asdict(check_tensorrt(report=lambda what, done: status.update(what)))


def lines(found: dict[str, Any]) -> list[str]:
    """What was found, in words."""
    gpu = found["gpu"]
    unet = ", ".join(f"{rows} rows {latency_ms:.2f} ms" for rows, latency_ms in found["unet_ms"].items())
    return [
        f"{gpu['name']}, compute capability {gpu['compute_capability']}, CUDA {gpu['driver']}",
        f"TensorRT {gpu['tensorrt']}, Menagerie's plans built in {found['build_s']:.0f} s",
        f"at most {found['relative_error']:.1e} from PyTorch, a whole edit {found['edit_psnr_db']:.1f} dB",
        f"one call of the UNet: {unet}",
        f"one guided edit: {found['edit_ms']:.0f} ms",
    ]
