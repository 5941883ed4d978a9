"""Builds a bundle: every network exported, compared with PyTorch and named in a manifest, or nothing at all."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import nn

from engine import record
from engine.bundle import open_bundle
from engine.bundle_files import MANIFEST_NAME
from engine.errors import BundleError
from engine.manifest import FORMAT, Artifact, Manifest
from export.config import ExportConfig
from export.describe import (
    describe_defaults,
    describe_file,
    describe_schedule,
    describe_tensors,
    describe_tools,
    write_tokenizer,
)
from export.modules import MODULES
from export.profiles import SIGNATURES, Sizes, choose_open_axes
from export.progress import Report
from export.room import check_room, weight_bytes
from export.to_onnx import write_onnx
from export.unfinished import unfinished_folder
from export.verify import CHECKING_RUNTIMES, check_onnx, check_parity
from export.verify_edit import check_edit
from hiper.models import StableDiffusion

_DTYPES: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# Traced with more than one row, or the exporter would take the number for granted; checked with another.
_TRACED_ROWS: Final = 2
_CHECKED_ROWS: Final = 3

# Even a tiny network takes as long to export as one with so many bytes of weights.
_OVERHEAD_BYTES: Final = 50 * 2**20


def build_bundle(
    model: StableDiffusion,
    folder: Path,
    config: ExportConfig,
    arguments: tuple[str, ...],
    *,
    force: bool = False,
    report: Report = lambda what, done: None,
) -> Manifest:
    """Export a model into a folder, which appears when everything in it has been checked.

    Args:
        model: in fp32, on the CPU.
        folder: where the bundle goes.
        config: precision and sizes.
        arguments: of `hiper-export`, that make this bundle again.
        force: replace what is in the folder.
        report: called before every part of the work.

    Raises:
        OutputError: the folder is taken, or disk or memory will not do.
        BundleError: a size does not suit the model, or an exported network differs from PyTorch.
    """
    sizes = config.image_sizes(model.image_size)
    _check_grid(sizes, size_unit(model))
    networks = {name: make(model).eval() for name, make in MODULES.items()}
    with unfinished_folder(folder, force) as unfinished:
        _check_room(folder, networks, config)
        artifacts = {}
        for (name, network), done in zip(networks.items(), _shares(networks), strict=False):
            report(f"exporting the {name}", done)
            artifacts[name] = _export(model, network, name, unfinished, config, sizes)
        manifest = _describe(model, unfinished, arguments, artifacts)
        report("making one edit both ways", _shares(networks)[-1])
        manifest = _check_edit(model, unfinished, manifest, config)
    report("done", 1.0)
    return manifest


def size_unit(model: StableDiffusion) -> int:
    """Pixels that height and width must be multiples of: the UNet halves latents at every level but the last."""
    return int(model.vae_factor * 2 ** (len(model.unet.config.block_out_channels) - 1))


def _check_grid(sizes: tuple[tuple[int, int], ...], unit: int) -> None:
    for height, width in sizes:
        if min(height, width) < unit or height % unit or width % unit:
            raise BundleError(f"size is {height}x{width} but this model makes multiples of {unit} pixels; take one")


def _check_room(folder: Path, networks: dict[str, nn.Module], config: ExportConfig) -> None:
    weights = {name: weight_bytes(network) for name, network in networks.items()}
    halved = {name: size if config.precision_of(name) == "fp32" else size // 2 for name, size in weights.items()}
    # The largest network is there as exported, and once more in the runtime that checks it.
    check_room(folder, disk_bytes=sum(halved.values()), memory_bytes=3 * max(halved.values()))


def _shares(networks: dict[str, nn.Module]) -> list[float]:
    """Which part of the work is done before each network, and before the edit at the end."""
    weights = [_OVERHEAD_BYTES + weight_bytes(network) for network in networks.values()]
    # The edit runs little but the largest of them.
    total = sum(weights) + max(weights)
    return [sum(weights[:index]) / total for index in range(len(weights) + 1)]


def _export(
    model: StableDiffusion,
    network: nn.Module,
    name: str,
    folder: Path,
    config: ExportConfig,
    sizes: tuple[tuple[int, int], ...],
) -> Artifact:
    signature, precision = SIGNATURES[name], config.precision_of(name)
    unit = size_unit(model) if len(sizes) > 1 else None
    traced, checked = Sizes.of(model, _TRACED_ROWS, sizes[0]), Sizes.of(model, _CHECKED_ROWS, sizes[-1])
    files = write_onnx(in_precision(network, precision), signature, traced, folder / f"{name}.onnx", unit)
    check_onnx(files[0])
    open_axes = choose_open_axes(dynamic_size=len(sizes) > 1)
    return Artifact(
        files=tuple(map(describe_file, files)),
        precision=precision,
        inputs=describe_tensors(signature.inputs, traced, open_axes),
        outputs=describe_tensors(signature.outputs, traced, open_axes),
        relative_error=check_parity(network, files[0], signature, checked, precision),
    )


def in_precision(network: nn.Module, precision: str) -> nn.Module:
    """Return a network whose parts compute in a precision; in fp32 it is the one that was given."""
    if precision == "fp32":
        return network
    network = copy.deepcopy(network)
    for part in network.children():
        # Diffusers' own `to` warns about modules that none of these models has.
        nn.Module.to(part, _DTYPES[precision])
    return network


def _describe(
    model: StableDiffusion, folder: Path, arguments: tuple[str, ...], artifacts: dict[str, Artifact]
) -> Manifest:
    return Manifest(
        format=FORMAT,
        export_arguments=arguments,
        model_id=model.model_id,
        model_digest=model.digest,
        family=model.family,
        clip_skip=model.clip_skip,
        dim=model.dim,
        max_tokens=model.max_tokens,
        image_size=model.image_size,
        vae_factor=model.vae_factor,
        latent_scale=model.latent_scale,
        schedule=describe_schedule(model),
        edit_defaults=describe_defaults(model),
        tokenizer=write_tokenizer(model, folder / "tokenizer.json"),
        networks=artifacts,
        plans=(),
        edit_psnr_db=0.0,
        tools=describe_tools(),
    )


def _check_edit(model: StableDiffusion, folder: Path, manifest: Manifest, config: ExportConfig) -> Manifest:
    """Let the finished bundle make an edit, and note how close to PyTorch's it comes."""
    path = folder / MANIFEST_NAME
    path.write_text(record.dump(manifest))
    bundle = open_bundle(folder, CHECKING_RUNTIMES[config.precision])
    manifest = replace(manifest, edit_psnr_db=check_edit(model, bundle, config.precision))
    path.write_text(record.dump(manifest))
    return manifest
