"""Which of a bundle's TensorRT plans a Triton server can use, and for how many rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.bundle_files import export_command
from engine.errors import BundleError
from engine.manifest import Manifest, Plan

# Shapes of all inputs by name.
Profile = Mapping[str, tuple[int, ...]]


def choose_plans(folder: Path, manifest: Manifest, network: str, tensorrt: str) -> tuple[Plan, ...]:
    """Return the plans of a network that a TensorRT can load, one for each compute capability.

    Args:
        folder: the bundle.
        manifest: the bundle's.
        network: a key of `Manifest.networks`.
        tensorrt: the server's version, as "10.14.1.48".

    Raises:
        BundleError: there is none, or their profiles differ.
    """
    onnx_sha256 = manifest.networks[network].files[0].sha256
    plans = [plan for plan in manifest.plans if (plan.network, plan.onnx_sha256) == (network, onnx_sha256)]
    chosen = tuple(plan for plan in plans if plan.tensorrt == tensorrt)
    remedy = f"with that TensorRT run: {export_command(folder, manifest, '--tensorrt')}"
    if not chosen:
        found = ", ".join(sorted({plan.tensorrt for plan in plans})) or "none"
        raise BundleError(f"{folder} has plans of the {network} for TensorRT {found}, not for {tensorrt}; {remedy}")
    if any(plan.profiles != chosen[0].profiles for plan in chosen):
        raise BundleError(
            f"the plans of the {network} for TensorRT {tensorrt} have different profiles and Triton takes one list for "
            f"all GPUs; build them with the same --rows and --size: {remedy}"
        )
    return chosen


def count_rows(profiles: Sequence[Profile]) -> int:
    """Return the most rows that Triton may ask for: 1 to so many rows have a profile each, whatever the size.

    Each profile takes one number of rows, and Triton's batcher sends whatever has come in, so a gap would be an error
    for somebody.
    """
    rows_by_size: dict[tuple[tuple[int, ...], ...], set[int]] = defaultdict(set)
    for profile in profiles:
        rows_by_size[tuple(shape[1:] for shape in profile.values())].add(rows_of(profile))
    rows = 0
    while all(rows + 1 in found for found in rows_by_size.values()):
        rows += 1
    return rows


def rows_of(profile: Profile) -> int:
    """Return the rows that a profile takes; all inputs have the same."""
    return next(iter(profile.values()))[0]
