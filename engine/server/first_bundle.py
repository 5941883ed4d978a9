"""The bundle that is served: the one that was named, or the model's, which the first start exports."""

import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from engine.bundle_files import check_sizes, read_manifest
from engine.errors import BundleError
from engine.manifest import Manifest
from engine.server.settings import Settings

logger = logging.getLogger(__name__)

# As a module it would do nothing; and the command need not be on the path.
_EXPORT: Final = "from export.cli import main; main()"
_NEEDED: Final = ("torch", "diffusers", "transformers", "onnx", "onnxscript")


def find_bundle(settings: Settings) -> tuple[Path, Manifest]:
    """The bundle's folder and what it says about itself; exports the model if need be, with progress on stderr.

    Raises:
        BundleError: the bundle cannot be used, or not be made.
    """
    folder = settings.bundle or settings.data_dir / "bundles" / _folder_name(settings.model)
    if settings.bundle is None and not _is_whole(folder):
        _export(settings.model, folder)
    manifest = read_manifest(folder)
    check_sizes(folder, manifest)
    return folder, manifest


def _folder_name(model: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in model).strip(".")


def _is_whole(folder: Path) -> bool:
    """Whether the folder has a bundle that this version reads; an export leaves a whole one or none."""
    if not folder.exists():
        return False
    try:
        check_sizes(folder, read_manifest(folder))
    except BundleError as error:
        logger.warning("%s", error)
        return False
    return True


def _export(model: str, folder: Path) -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise BundleError(
            f"the first start exports {model}, which needs {', '.join(missing)}; run: pip install 'hiper[export]', or "
            "name a bundle that was made elsewhere with --bundle"
        )
    logger.info("exporting %s to %s; only the first start does this", model, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _EXPORT, model, "-o", str(folder), "--force"]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code:
        raise BundleError(
            f"the export of {model} ended with {code}; see above, and run it by hand: hiper-export {model} -o {folder}"
        )
