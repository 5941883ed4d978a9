"""How a model is exported."""

from dataclasses import dataclass

from engine.manifest import NETWORKS, PRECISIONS


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

    def arguments(self) -> tuple[str, ...]:
        """The options of `hiper-export` that say the same."""
        sizes = (f"--size={height}x{width}" for height, width in self.sizes)
        kept = (f"--keep-fp32={name}" for name in self.keep_fp32)
        return (f"--precision={self.precision}", *sizes, *kept)
