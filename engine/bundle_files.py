"""Finds the files of a bundle and refuses what is not as its manifest says, with the command that mends it."""

import hashlib
import shlex
from pathlib import Path
from typing import Final

from engine.capped_file import read_capped
from engine.errors import BundleError
from engine.manifest import FileRecord, Manifest, Plan, parse_manifest
from engine.runtimes.gpu import describe_gpu

MANIFEST_NAME: Final = "manifest.json"
_MAX_MANIFEST_BYTES: Final = 2**20


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the manifest of a bundle.

    Raises:
        BundleError: there is none, it is damaged, or another version of HiPer wrote it.
    """
    path = folder / MANIFEST_NAME
    try:
        return parse_manifest(read_capped(path, _MAX_MANIFEST_BYTES))
    except ValueError as error:
        remedy = shlex.join(["hiper-export", "MODEL", "-o", str(folder), "--force"])
        raise BundleError(f"{path} cannot be read: {error}; export the bundle again: {remedy}") from error


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Refuse a bundle that lacks a file or has one of another size; plans are looked at when they are wanted.

    Raises:
        BundleError: the message names the file and the command that makes it again.
    """
    networks = (file for artifact in manifest.networks.values() for file in artifact.files)
    for file in (manifest.tokenizer, *networks):
        _check_size(folder, file, _remedy(folder, manifest, "--force"))


def check_digest(folder: Path, manifest: Manifest, file: FileRecord) -> None:
    """Refuse a file that is missing or whose content was altered.

    Raises:
        BundleError: the message names the file and the command that makes it again.
    """
    is_plan = any(file == plan.file for plan in manifest.plans)
    remedy = _remedy(folder, manifest, "--tensorrt" if is_plan else "--force")
    _check_size(folder, file, remedy)
    if file_sha256(folder / file.name) != file.sha256:
        raise BundleError(f"{folder / file.name} is not the file that was exported, its digest differs; {remedy}")


def file_sha256(path: Path) -> str:
    """Digest of a file in 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_artifact(folder: Path, manifest: Manifest, network: str, runtime: str, device: int) -> Path:
    """Return the checked file that a runtime loads for a network: a plan for "tensorrt", else the ONNX file.

    Raises:
        BundleError: the file was altered, or there is no plan for this GPU and TensorRT.
        RuntimeMissingError: there is no GPU or no TensorRT here.
    """
    files = manifest.networks[network].files
    if runtime == "tensorrt":
        files = (find_plan(folder, manifest, network, device).file,)
    for file in files:
        check_digest(folder, manifest, file)
    return folder / files[0].name


def find_plan(folder: Path, manifest: Manifest, network: str, device: int) -> Plan:
    """Return the plan of a network for the GPU and the TensorRT of this machine.

    Raises:
        BundleError: there is none; the message says what there is and how to build it.
        RuntimeMissingError: there is no GPU or no TensorRT here.
    """
    gpu = describe_gpu(device)
    wanted = (manifest.networks[network].files[0].sha256, gpu.compute_capability, gpu.tensorrt)
    plans = [plan for plan in manifest.plans if plan.network == network]
    for plan in plans:
        if (plan.onnx_sha256, plan.compute_capability, plan.tensorrt) == wanted:
            return plan
    found = "; ".join(f"compute capability {plan.compute_capability}, TensorRT {plan.tensorrt}" for plan in plans)
    raise BundleError(
        f"{folder} has plans of the {network} for {found or 'no GPU'}, this is compute capability "
        f"{gpu.compute_capability} with TensorRT {gpu.tensorrt}; {_remedy(folder, manifest, '--tensorrt')}"
    )


def _check_size(folder: Path, file: FileRecord, remedy: str) -> None:
    path = folder / file.name
    if not path.is_file():
        raise BundleError(f"{path} is missing; {remedy}")
    if path.stat().st_size != file.size_bytes:
        raise BundleError(f"{path} has {path.stat().st_size} bytes, its manifest says {file.size_bytes}; {remedy}")


def export_command(folder: Path, manifest: Manifest, *options: str) -> str:
    """Return the command line that makes a bundle again, or with `options` adds to it."""
    return shlex.join(["hiper-export", *manifest.export_arguments, "-o", str(folder), *options])


def _remedy(folder: Path, manifest: Manifest, option: str) -> str:
    return f"mend it with: {export_command(folder, manifest, option)}"
