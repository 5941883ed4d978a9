"""One deployment for all tests that harm it: each leaves it running, or down, for the next.

HIPER_SOAK_MINUTES=10 makes the tests long: as many minutes of load, 50 kills, and as much more of everything else.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from engine.bundle_files import MANIFEST_NAME
from hiper.pipeline import HiPer
from hiper.recipe import choose_config
from hiper.tail import Tail
from tests.engine import conftest as toy
from tests.server.promises.deployment import EVERY, Deployment
from tests.server.promises.fits import PICTURE, PROMPT, STEPS

MINUTES = float(os.environ.get("HIPER_SOAK_MINUTES", 0))
DISK_MIB = 256

WholeFit = Callable[[int], Tail]


@pytest.fixture(scope="session")
def hiper(sd1_folder: Path) -> HiPer:
    return HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def whole_fit(hiper: HiPer) -> WholeFit:
    """The tail of a fit that nobody interrupts, by seed; one thread, as the worker has."""

    @cache
    def fit(seed: int) -> Tail:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        config = choose_config("paper", "animal", hiper.recipe, steps=STEPS, seed=seed)
        tail = hiper.fit(PICTURE, PROMPT, config=config)
        torch.set_num_threads(threads)
        return tail

    return fit


@pytest.fixture(scope="session")
def fitted_bundle(hiper: HiPer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy bundle, as wide as the tiny model and by its name: it edits with the tails that are fitted."""
    folder = tmp_path_factory.mktemp("bundles") / "fitted"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "DIM", hiper.model.dim)
        patch.setattr(toy, "EMBEDDING", ("rows", toy.TOKENS, hiper.model.dim))
        toy.write_toy_bundle(folder)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    model = hiper.model
    manifest |= {"model_id": model.model_id, "model_digest": model.digest, "family": model.family}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A disk of its own, or else a mere folder and the reason why."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    yield folder, mounted.stderr.strip() if mounted.returncode else ""
    if not mounted.returncode:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def shared_deployment(
    fitted_bundle: Path, sd1_folder: Path, small_disk: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    deployment = Deployment(
        small_disk[0] / "data",
        tmp_path_factory.mktemp("log") / "server.log",
        *("--bundle", str(fitted_bundle), "--model", str(sd1_folder), "--runtime", "onnxruntime"),
        HIPER_CHECKPOINT_EVERY=str(EVERY),
        HIPER_FIT_NICE="0",  # behind all of a busy machine it would never end
        HIPER_FIT_DTYPE="fp32",
        OMP_NUM_THREADS="1",
    )
    yield deployment
    deployment.end()


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    """It is ready."""
    shared_deployment.up()
    return shared_deployment
