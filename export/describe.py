"""What a manifest says about a model."""

import platform
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from engine.bundle_files import file_sha256
from engine.manifest import EditDefaults, FileRecord, ScheduleRecord, TensorRecord
from export.profiles import Axes, Sizes, dtype_of
from hiper.models import StableDiffusion
from hiper.recipe import read_recipe
from hiper.schedule import STEPS_OFFSET

_PACKAGES: Final = ("hiper", "torch", "diffusers", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino")


def describe_file(path: Path) -> FileRecord:
    """Name, size and digest."""
    return FileRecord(path.name, path.stat().st_size, file_sha256(path))


def describe_tensors(
    tensors: Mapping[str, Axes], sizes: Sizes, open_axes: Collection[str | int]
) -> tuple[TensorRecord, ...]:
    """Names, dtypes and shapes; open axes keep their names."""
    return tuple(
        TensorRecord(name, dtype_of(name), sizes.open_shape(axes, open_axes)) for name, axes in tensors.items()
    )


def describe_schedule(model: StableDiffusion) -> ScheduleRecord:
    """The model's noise schedule."""
    schedule = model.schedule
    return ScheduleRecord(
        alphas_cumprod=tuple(schedule.alphas_cumprod.tolist()),
        prediction_type=schedule.prediction_type,
        timestep_spacing=schedule.timestep_spacing,
        steps_offset=STEPS_OFFSET,
        set_alpha_to_one=schedule.set_alpha_to_one,
    )


def describe_defaults(model: StableDiffusion) -> EditDefaults:
    """What the model's recipe recommends for edits."""
    recipe = read_recipe(model.folder)
    return EditDefaults(recipe.guidance_scale, recipe.num_inference_steps, recipe.tail_strength)


def describe_tools() -> dict[str, str]:
    """Versions of Python and of the packages that have a part in the files."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_tokenizer(model: StableDiffusion, path: Path) -> FileRecord:
    """Write the tokenizer so that it pads as the model's does and cuts nothing off: too long a prompt must show."""
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.enable_padding(
        length=model.max_tokens, pad_id=model.tokenizer.pad_token_id, pad_token=model.tokenizer.pad_token
    )
    tokenizer.save(str(path))
    return describe_file(path)
