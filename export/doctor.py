"""Whether TensorRT works on this machine, and how fast: `hiper-doctor --tensorrt`, or `python -m export.doctor`."""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from engine.bundle import open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
from engine.runtimes import Network, RuntimeOptions
from engine.runtimes.gpu import Gpu, describe_gpu
from export.build import build_bundle
from export.config import ExportConfig, PlanConfig
from export.example import example_inputs
from export.plans import add_plans
from export.profiles import SIGNATURES, Sizes
from export.progress import Report
from export.verify_edit import check_edit
from hiper.models import StableDiffusion, load_model

_CALLS: Final = 50
_ROWS: Final = (1, 2, 8)


@dataclass(frozen=True)
class TensorRTReport:
    """What was found.

    Attributes:
        gpu: the GPU and TensorRT.
        build_s: seconds for the plans of all networks.
        relative_error: the largest of any network and profile, against PyTorch in fp32.
        edit_psnr_db: of a whole edit against PyTorch, at most 100.
        unet_ms: median of one call of the UNet in milliseconds, by rows.
        edit_ms: one guided edit in milliseconds, from prompt to pixels.
    """

    gpu: Gpu
    build_s: float
    relative_error: float
    edit_psnr_db: float
    unet_ms: dict[int, float]
    edit_ms: float


def check_tensorrt(
    model: str = "menagerie", device: int = 0, report: Report = lambda what, done: None
) -> TensorRTReport:
    """Export a model, build its plans, compare them with PyTorch and time them.

    Raises:
        RuntimeMissingError: TensorRT or the GPU is not here; the message says what brings it.
        BundleError: a plan cannot be built, or differs from PyTorch.
    """
    gpu = describe_gpu(device)
    loaded, config = load_model(model), ExportConfig()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        build_bundle(loaded, folder, config, (model,), report=report)
        start = perf_counter()
        manifest = add_plans(loaded, folder, PlanConfig(rows=_ROWS, device=device), report)
        build_s = perf_counter() - start
        bundle = open_bundle(folder, "tensorrt", RuntimeOptions(device=device))
        psnr_db = check_edit(loaded, bundle, config.precision)
        editor = Editor(bundle, buckets=_ROWS)
        editor.warm_up()
        return TensorRTReport(
            gpu=gpu,
            build_s=build_s,
            relative_error=max(plan.relative_error for plan in manifest.plans),
            edit_psnr_db=psnr_db,
            unet_ms={rows: _unet_ms(loaded, bundle.unet, rows) for rows in _ROWS},
            edit_ms=editor.edit([EditRequest("a dog")])[0].timings.total_ms,
        )


def _unet_ms(model: StableDiffusion, unet: Network, rows: int) -> float:
    sizes = Sizes.of(model, rows, (model.image_size, model.image_size))
    inputs = {name: tensor.numpy() for name, tensor in example_inputs(SIGNATURES["unet"], sizes).items()}
    latencies_ms = []
    for _ in range(_CALLS):
        start = perf_counter()
        unet(inputs)
        latencies_ms.append(1e3 * (perf_counter() - start))
    return statistics.median(latencies_ms)


if __name__ == "__main__":
    print(check_tensorrt())
