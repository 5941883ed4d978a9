"""How a model is exported, and how plans are built."""

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BundleError
from engine.manifest import NETWORKS, PRECISIONS, Manifest
from engine.runtimes.buckets import BUCKETS


@dataclass(frozen=True)
class ExportConfig:
    """Precision and sizes of a bundle.

    Attributes:
        precision: of UNet and VAE, "fp32", "fp16" or "bf16"; the text encoder is always in fp32, since a tail is tied
            to the numbers it gives.
        keep_fp32: networks that stay in fp32 none the less.
        sizes: (height, width) of the images in pixels; none means the model's own, several leave the size open.

    Raises:
        ValueError: there is no such precision or network.
    """

    precision: str = "fp32"
    keep_fp32: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; use one of {', '.join(PRECISIONS)}")
        if unknown := sorted(set(self.keep_fp32) - set(NETWORKS)):
            raise ValueError(f"there is no network {', '.join(unknown)}; there are {', '.join(NETWORKS)}")

    def precision_of(self, network: str) -> str:
        """Precision of one network."""
        return "fp32" if network in ("text_encoder", *self.keep_fp32) else self.precision

    def image_sizes(self, model_size: int) -> tuple[tuple[int, int], ...]:
        """(height, width) of the images, the model's own where none was asked for."""
        return self.sizes or ((model_size, model_size),)

    def arguments(self) -> tuple[str, ...]:
        """The options of `hiper-export` that say the same."""
        sizes = (f"--size={height}x{width}" for height, width in self.sizes)
        kept = (f"--keep-fp32={name}" for name in self.keep_fp32)
        return (f"--precision={self.precision}", *sizes, *kept)

    @staticmethod
    def of(folder: Path, manifest: Manifest) -> "ExportConfig":
        """What a bundle was exported with: `arguments`, read back.

        Raises:
            BundleError: its manifest says what `hiper-export` never does.
        """

        def values(option: str) -> tuple[str, ...]:
            given = (argument.partition("=") for argument in manifest.export_arguments)
            return tuple(value for name, _, value in given if name == option)

        try:
            (precision,) = values("--precision") or ("fp32",)
            return ExportConfig(precision, values("--keep-fp32"), tuple(map(parse_size, values("--size"))))
        except ValueError as error:
            raise BundleError(f"{folder} says that it was exported oddly: {error}; replace it with --force") from error


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from "512x768", in pixels.

    Raises:
        ValueError: it is something else.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise ValueError(f"{text!r} is no size; write HEIGHTxWIDTH in pixels, like 512x768")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class PlanConfig:
    """How TensorRT builds plans of a bundle.

    Attributes:
        rows: how many the UNet takes in a call, a profile each; the other networks take one.
        optimization_level: 0 to 5; the higher, the longer it looks for faster kernels.
        workspace_bytes: memory that a kernel may use for itself; None takes what the GPU has.
        timing_cache: a file that keeps measured kernel times from one build to the next; None measures all anew, which
            NVIDIA recommends for the last build before a plan is used for long.
        device: index of the GPU.

    Raises:
        ValueError: a number is outside its range.
    """

    rows: tuple[int, ...] = BUCKETS
    optimization_level: int = 3
    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    device: int = 0

    def __post_init__(self) -> None:
        if not self.rows or not set(self.rows) <= set(BUCKETS):
            raise ValueError(
                f"rows are {', '.join(map(str, self.rows)) or 'none'}; use some of {', '.join(map(str, BUCKETS))}"
            )
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"optimization_level is {self.optimization_level}; use 0 to 5")
