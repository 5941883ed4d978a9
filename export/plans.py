"""Adds TensorRT plans to a bundle: one for each network, for the GPU of this machine, each compared with PyTorch."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from engine import record
from engine.atomic_file import write_atomically
from engine.bundle_files import MANIFEST_NAME, file_sha256, find_artifact, read_manifest
from engine.errors import BundleError
from engine.manifest import NETWORKS, FileRecord, Manifest, Plan
from engine.runtimes import RuntimeOptions, load_network
from engine.runtimes.gpu import Gpu, describe_gpu
from export.config import ExportConfig, PlanConfig
from export.describe import describe_file
from export.modules import MODULES
from export.profiles import SIGNATURES, Sizes
from export.progress import Report
from export.verify import check_network
from hiper.models import StableDiffusion


def add_plans(model: StableDiffusion, folder: Path, plan_config: PlanConfig, report: Report) -> Manifest:
    """Build what the bundle lacks for this GPU; each finished plan is named in the manifest at once.

    Args:
        model: that the bundle was exported from, in fp32.
        folder: the bundle.
        plan_config: rows, level, workspace, timing cache and GPU.
        report: called while it builds.

    Raises:
        RuntimeMissingError: TensorRT or the GPU is not here.
        BundleError: the bundle is damaged or of another model, TensorRT cannot build a network, or a plan differs from
            PyTorch.
    """
    gpu = describe_gpu(plan_config.device)
    manifest = read_manifest(folder)
    check_model(model, folder, manifest)
    config = ExportConfig.of(folder, manifest)
    for index, name in enumerate(NETWORKS):
        what = f"building the {name} for {gpu.name}"
        report(what, index / len(NETWORKS))
        sizes = _sizes(model, name, config, plan_config)
        wanted = _describe(manifest, name, sizes, gpu, plan_config)
        if not any(_is_same(plan, wanted) and _is_intact(folder, plan.file) for plan in manifest.plans):
            onnx_path = find_artifact(folder, manifest, name, "onnxruntime", plan_config.device)
            # Until the new plan is there and checked, the old one of that name may not be used.
            manifest = _write(folder, manifest, _others(manifest, wanted))
            path = _build(onnx_path, folder, wanted, plan_config, report, what, index)
            plan = _check(MODULES[name](model).eval(), manifest, path, wanted, sizes, plan_config)
            manifest = _write(folder, manifest, (*_others(manifest, plan), plan))
    return manifest


def check_model(model: StableDiffusion, folder: Path, manifest: Manifest) -> None:
    """Refuse a bundle of other weights.

    Raises:
        BundleError: they differ.
    """
    if (manifest.model_digest, manifest.clip_skip) != (model.digest, model.clip_skip):
        raise BundleError(
            f"{folder} is a bundle of {manifest.model_id} with clip_skip {manifest.clip_skip}, not of this "
            f"{model.model_id} with {model.clip_skip}; replace it with --force, or choose another folder"
        )


def _sizes(model: StableDiffusion, name: str, config: ExportConfig, plan_config: PlanConfig) -> list[Sizes]:
    """One for each profile; text has no size."""
    images = config.image_sizes(model.image_size)
    return [
        Sizes.of(model, rows, size)
        for size in (images[:1] if name == "text_encoder" else images)
        for rows in (plan_config.rows if name == "unet" else (1,))
    ]


def _describe(manifest: Manifest, name: str, sizes: list[Sizes], gpu: Gpu, config: PlanConfig) -> Plan:
    """The plan that is wanted; file and error are not known yet."""
    inputs = SIGNATURES[name].inputs
    onnx_file = manifest.networks[name].files[0]
    return Plan(
        network=name,
        file=replace(onnx_file, name=f"{name}.sm{gpu.compute_capability}.tensorrt-{gpu.tensorrt}.plan"),
        onnx_sha256=onnx_file.sha256,
        tensorrt=gpu.tensorrt,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        driver=gpu.driver,
        profiles=tuple({key: size.shape(axes) for key, axes in inputs.items()} for size in sizes),
        optimization_level=config.optimization_level,
        relative_error=0.0,
    )


def _is_same(plan: Plan, wanted: Plan) -> bool:
    return replace(plan, file=wanted.file, relative_error=0.0) == wanted


def _is_intact(folder: Path, file: FileRecord) -> bool:
    path = folder / file.name
    return path.is_file() and file_sha256(path) == file.sha256


def _build(
    onnx_path: Path, folder: Path, wanted: Plan, config: PlanConfig, report: Report, what: str, index: int
) -> Path:
    # It imports TensorRT, which has been found by now.
    from export.to_tensorrt import build_plan

    path = folder / wanted.file.name
    plan = build_plan(onnx_path, wanted.profiles, config, lambda done: report(what, (index + done) / len(NETWORKS)))
    write_atomically(path, bytes(plan))
    return path


def _check(
    network: nn.Module, manifest: Manifest, path: Path, wanted: Plan, sizes: list[Sizes], config: PlanConfig
) -> Plan:
    """Compare at every profile: each has kernels of its own."""
    name, precision = wanted.network, manifest.networks[wanted.network].precision
    try:
        plan = load_network(path, "tensorrt", RuntimeOptions(device=config.device))
        errors = [check_network(network, plan, SIGNATURES[name], size, precision, name) for size in sizes]
    except BundleError:
        path.unlink()
        raise
    return replace(wanted, file=describe_file(path), relative_error=max(errors))


def _others(manifest: Manifest, plan: Plan) -> tuple[Plan, ...]:
    return tuple(other for other in manifest.plans if other.file.name != plan.file.name)


def _write(folder: Path, manifest: Manifest, plans: tuple[Plan, ...]) -> Manifest:
    manifest = replace(manifest, plans=plans)
    write_atomically(folder / MANIFEST_NAME, record.dump(manifest).encode())
    return manifest
