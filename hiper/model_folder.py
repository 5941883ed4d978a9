"""Finds the folder of a Stable Diffusion pipeline, on disk or on the hub, and refuses every other kind of model."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download

from hiper.errors import ModelError

BUILT_IN: Final = {"menagerie": Path(__file__).parent / "menagerie" / "model"}
SUPPORTED: Final = "supported are Stable Diffusion 1.x and 2.x in diffusers layout"

KINDS: Final = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")

# The components with weights, in the order of the digest, and the stem of their files.
WEIGHT_STEMS: Final = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def find_folder(source: str | Path) -> Path:
    """Return the checked folder of a pipeline; of a hub model, weights are downloaded only once its kind is checked.

    Args:
        source: "menagerie", a folder in diffusers layout, or a hub id.

    Raises:
        ModelError: no such folder or hub model, another kind of model, or a component is missing.
    """
    folder = BUILT_IN.get(str(source), Path(source))
    if not folder.exists():
        folder = _download(str(source), ["*.json", "*.txt"])
        _check_kind(folder)
        folder = _download(str(source), ["*.json", "*.txt", *_weight_patterns()])
    _check_kind(folder)
    weight_files(folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of UNet, VAE and text encoder, in a fixed order.

    Raises:
        ModelError: a component has none.
    """
    return [file for part in WEIGHT_STEMS for file in _component_files(folder, part)]


def weights_digest(folder: Path) -> str:
    """SHA-256 over the bytes of `weight_files`, 64 hex digits: names the weights whatever their folder is called."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read one JSON file of a pipeline.

    Raises:
        ModelError: it is missing or no JSON object.
    """
    try:
        config = json.loads((folder / name).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) if folder.is_dir() else "a file"
        raise ModelError(f"{folder} is no pipeline: found {found or 'nothing'}, wanted {name}; {SUPPORTED}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / name} cannot be read: {error}; download the model again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / name} is no JSON object; download the model again")
    return config


def _check_kind(folder: Path) -> None:
    """Refuse every kind of model that a tail is not defined for; reads configurations only."""
    index = read_config(folder, "model_index.json")
    kind, text_encoder = index.get("_class_name"), index.get("text_encoder")
    if kind not in KINDS or text_encoder != ["transformers", "CLIPTextModel"]:
        raise ModelError(f"{folder} is a {kind}; {SUPPORTED}")
    unet = read_config(folder, "unet/config.json")
    if unet.get("in_channels", 4) != 4 or unet.get("time_cond_proj_dim") or unet.get("addition_embed_type"):
        raise ModelError(f"{folder} has a UNet for inpainting, instructions or distilled guidance; {SUPPORTED}")
    wanted = unet.get("cross_attention_dim")
    found = read_config(folder, "text_encoder/config.json").get("hidden_size", 512)  # transformers omits its defaults
    if wanted != found:
        raise ModelError(f"{folder} has a UNet for text {wanted} wide but a text encoder {found} wide; {SUPPORTED}")


def _component_files(folder: Path, part: str) -> list[Path]:
    stem = WEIGHT_STEMS[part]
    files = [*folder.glob(f"{part}/{stem}.safetensors"), *sorted(folder.glob(f"{part}/{stem}-*-of-*.safetensors"))]
    if not files:
        found = ", ".join(sorted(path.name for path in folder.glob(f"{part}/*"))) or "nothing"
        raise ModelError(
            f"{folder} has no {part} to load: found {found}, wanted {stem}.safetensors; "
            "pickled weights are never read, save the pipeline again with safe_serialization=True"
        )
    return files


def _weight_patterns() -> list[str]:
    return [f"{part}/{stem}{shard}.safetensors" for part, stem in WEIGHT_STEMS.items() for shard in ("", "-*-of-*")]


def _download(model_id: str, patterns: list[str]) -> Path:
    try:
        return Path(snapshot_download(model_id, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{model_id} is neither a folder nor a model that the hub hands out ({reason}); name another, or try again"
        ) from error
