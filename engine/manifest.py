"""What a bundle says about itself: the model, its networks, and the files that hold them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine import record
from engine.schedule import NoiseSchedule

FORMAT: Final = "hiper.bundle/1"
NETWORKS: Final = ("text_encoder", "unet", "decoder", "encoder")
PRECISIONS: Final = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle, which lies directly in its folder."""

    name: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name, re.ASCII):
            raise ValueError(f"{self.name!r:.40} is no plain file name")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"the digest of {self.name} is not a SHA-256 in 64 hex digits")


@dataclass(frozen=True)
class TensorRecord:
    """One input or output; a dimension that the caller chooses has a name instead of a size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Artifact:
    """A network as ONNX.

    Attributes:
        files: the model, then its external data if it has any.
        precision: of weights and arithmetic, "fp32", "fp16" or "bf16"; inputs and outputs are always float32.
        inputs: what it takes.
        outputs: what it returns.
        relative_error: largest difference from PyTorch in fp32, over the largest value, when it was exported.
    """

    files: tuple[FileRecord, ...]
    precision: str
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    relative_error: float

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("a network has no file")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r:.40} instead of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class Plan:
    """A network as TensorRT built it for one kind of GPU.

    Attributes:
        network: a key of `Manifest.networks`.
        file: the serialized plan.
        onnx_sha256: of the artifact it was built from.
        tensorrt: version that built it and alone can load it, as "11.4.0.106".
        compute_capability: of the GPU, as "9.0".
        gpu: its name.
        driver: CUDA version of its driver, as "13.0".
        profiles: the shapes of its inputs that it takes, by name, one set a profile.
        optimization_level: TensorRT's, 0 to 5.
        relative_error: largest difference from PyTorch in fp32, over the largest value, when it was built.
    """

    network: str
    file: FileRecord
    onnx_sha256: str
    tensorrt: str
    compute_capability: str
    gpu: str
    driver: str
    profiles: tuple[Mapping[str, tuple[int, ...]], ...]
    optimization_level: int
    relative_error: float


@dataclass(frozen=True)
class ScheduleRecord:
    """A `NoiseSchedule` in JSON's types."""

    alphas_cumprod: tuple[float, ...]
    prediction_type: str
    timestep_spacing: str | None
    steps_offset: int
    set_alpha_to_one: bool

    def __post_init__(self) -> None:
        self.load()

    def load(self) -> NoiseSchedule:
        """Return the schedule."""
        return NoiseSchedule(
            np.array(self.alphas_cumprod),
            self.prediction_type,
            self.timestep_spacing,
            self.steps_offset,
            self.set_alpha_to_one,
        )


@dataclass(frozen=True)
class EditDefaults:
    """What the model recommends for edits; None where it says nothing."""

    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    tail_strength: float | None = None


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        format: "hiper.bundle/1".
        export_arguments: of `hiper-export`, which make this bundle again; the output folder is left out.
        model_id: hub id or folder name of the model.
        model_digest: SHA-256 over its weights, which tails name too.
        family: models of one family share a text encoder.
        clip_skip: text encoder layers left out.
        dim: width of a prompt embedding.
        max_tokens: rows of a prompt embedding.
        image_size: side of the images the model was trained on, in pixels.
        vae_factor: pixels per latent along a side.
        latent_scale: brings latents to unit variance; the decoder divides by it, the encoder multiplies.
        schedule: the diffusion the model was trained with.
        edit_defaults: what the model recommends.
        tokenizer: a tokenizer.json that pads to `max_tokens` and cuts nothing off.
        networks: by name, see `NETWORKS`.
        plans: none, until TensorRT builds some.
        edit_psnr_db: of one whole edit against PyTorch, at most 100.
        tools: versions of the packages that made the bundle.
    """

    format: str
    export_arguments: tuple[str, ...]
    model_id: str
    model_digest: str
    family: str
    clip_skip: int
    dim: int
    max_tokens: int
    image_size: int
    vae_factor: int
    latent_scale: float
    schedule: ScheduleRecord
    edit_defaults: EditDefaults
    tokenizer: FileRecord
    networks: Mapping[str, Artifact]
    plans: tuple[Plan, ...]
    edit_psnr_db: float
    tools: Mapping[str, str]

    @property
    def digest(self) -> str:
        """`model_digest`, as a `TailModel` calls it."""
        return self.model_digest

    def __post_init__(self) -> None:
        for name in ("dim", "max_tokens", "image_size", "vae_factor", "latent_scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be more than nothing")
        if self.networks.keys() != set(NETWORKS):
            raise ValueError(f"networks are {', '.join(self.networks) or 'missing'} instead of {', '.join(NETWORKS)}")
        for plan in self.plans:
            if plan.network not in NETWORKS:
                raise ValueError(f"a plan is for {plan.network!r:.40}, not for one of {', '.join(NETWORKS)}")


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest strictly.

    Raises:
        ValueError: it is damaged, or of another format; the message is the second half of a sentence.
    """
    value = record.parse(text)
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT:
        raise ValueError(f"its format is {found!r:.40} and this version reads {FORMAT!r}")
    return record.build(Manifest, value)
