"""Lays a bundle out as a Triton model repository: four models, each with a configuration and one version."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.bundle_files import check_digest, export_command, read_manifest
from engine.errors import BundleError
from engine.manifest import NETWORKS, FileRecord, Manifest
from engine.runtimes.buckets import BUCKETS
from export.progress import Report
from export.triton.model_config import ModelConfig
from export.triton.plan_choice import choose_plans, count_rows, rows_of
from export.unfinished import unfinished_folder

VERSION: Final = "1"

# A guess: the VAE's memory grows with every image, and a server shares the GPU with the UNet.
_MAX_IMAGES: Final = 4
_MAX_ROWS: Final = {"text_encoder": BUCKETS[-1], "unet": BUCKETS[-1], "decoder": _MAX_IMAGES, "encoder": _MAX_IMAGES}

# A guided edit has two rows at every step.
_REQUEST_ROWS: Final = {"text_encoder": 1, "unet": 2, "decoder": 1, "encoder": 1}


@dataclass(frozen=True)
class Model:
    """A network as Triton wants it; `files` are the bundle's by their place in the version's folder."""

    config: ModelConfig
    files: Mapping[str, FileRecord]


def lay_out(
    bundle: Path,
    repository: Path,
    *,
    tensorrt: str | None = None,
    force: bool = False,
    report: Report = lambda what, done: None,
) -> tuple[ModelConfig, ...]:
    """Copy a bundle's networks into a model repository, which appears when it is complete.

    Args:
        bundle: what `hiper-export` wrote.
        repository: the folder to make.
        tensorrt: version of the server's TensorRT, to lay out plans; None lays out ONNX.
        force: replace a repository of the same four models.
        report: called before every file.

    Returns:
        How each network is configured.

    Raises:
        BundleError: the bundle is damaged or has no such plans.
        OutputError: the folder is taken, or the disk refuses.
    """
    manifest = read_manifest(bundle)
    models = [_model(bundle, manifest, network, tensorrt) for network in NETWORKS]
    with unfinished_folder(repository, force, "repository of these models alone", is_repository) as unfinished:
        total = sum(file.size_bytes for model in models for file in model.files.values())
        done = 0
        for model in models:
            folder = unfinished / model.config.name
            for place, file in model.files.items():
                report(f"copying the {model.config.name}", done / total)
                _copy(bundle, manifest, file, folder / VERSION / place)
                done += file.size_bytes
            (folder / "config.pbtxt").write_text(model.config.text())
        report("done", 1.0)
    return tuple(model.config for model in models)


def is_repository(folder: Path) -> bool:
    """Tell whether a folder holds the models of a bundle and nobody else's."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} == set(NETWORKS)


def _model(bundle: Path, manifest: Manifest, network: str, tensorrt: str | None) -> Model:
    return _onnx_model(manifest, network) if tensorrt is None else _plan_model(bundle, manifest, network, tensorrt)


def _onnx_model(manifest: Manifest, network: str) -> Model:
    artifact = manifest.networks[network]
    model, *data = artifact.files
    # The model finds its data by the name it was exported with, and Triton wants several files in a folder.
    folder = "model.onnx/" if data else ""
    files = {f"{folder}model.onnx": model} | {f"{folder}{file.name}": file for file in data}
    config = ModelConfig(
        network, "onnxruntime", _MAX_ROWS[network], _REQUEST_ROWS[network], artifact.inputs, artifact.outputs
    )
    return Model(config, files)


def _plan_model(bundle: Path, manifest: Manifest, network: str, tensorrt: str) -> Model:
    artifact, plans = manifest.networks[network], choose_plans(bundle, manifest, network, tensorrt)
    profiles = plans[0].profiles
    rows = count_rows(profiles)
    if rows == 0:
        found = ", ".join(str(rows_of(profile)) for profile in profiles)
        remedy = export_command(bundle, manifest, "--tensorrt", "--rows", "1", "--rows", "2")
        raise BundleError(
            f"the plans of the {network} take {found} rows and Triton's batches begin with 1; on that GPU run: {remedy}"
        )
    config = ModelConfig(
        network,
        "tensorrt",
        rows,
        _REQUEST_ROWS[network],
        artifact.inputs,
        artifact.outputs,
        profiles=[index for index, profile in enumerate(profiles) if rows_of(profile) <= rows],
        plans={plan.compute_capability: f"model.sm{plan.compute_capability}.plan" for plan in plans},
    )
    return Model(config, {config.plans[plan.compute_capability]: plan.file for plan in plans})


def _copy(bundle: Path, manifest: Manifest, file: FileRecord, target: Path) -> None:
    check_digest(bundle, manifest, file)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle / file.name, target)
