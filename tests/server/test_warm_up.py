"""The picture that every start has to paint again. Oracle: a picture put in its place by hand."""

from pathlib import Path

import numpy as np
import pytest
from anyio.from_thread import BlockingPortal
from PIL import Image

from engine.server.edit_client import EditClient
from engine.server.metrics import Metrics
from engine.server.warm_up import MAX_RMS, UNDER_WAY, WarmUp


@pytest.fixture
def warm_up(edits: EditClient, bundle: Path, tmp_path: Path) -> WarmUp:
    return WarmUp(edits, bundle, tmp_path / "warm_up")


def check(warm_up: WarmUp, edits: EditClient, portal: BlockingPortal) -> str | None:
    portal.call(warm_up._check, edits.ready)
    return warm_up.failure


def test_the_first_start_keeps_its_picture_and_the_next_paints_it_again(
    warm_up: WarmUp, edits: EditClient, portal: BlockingPortal, tmp_path: Path
) -> None:
    assert warm_up.failure == UNDER_WAY
    assert check(warm_up, edits, portal) is None
    [kept] = (tmp_path / "warm_up").iterdir()
    assert kept.name.endswith("-onnxruntime-fast.png")
    data = kept.read_bytes()
    assert check(warm_up, edits, portal) is None and kept.read_bytes() == data


def test_metrics_name_the_engine_that_is_ready(
    edits: EditClient, portal: BlockingPortal, bundle: Path, tmp_path: Path
) -> None:
    metrics = Metrics()
    check(WarmUp(edits, bundle, tmp_path / "warm_up", metrics.on_engine), edits, portal)
    assert edits.ready is not None
    labels = {"model_id": edits.ready.model_id, "model_digest": edits.ready.model_digest}
    labels |= {"runtime": "onnxruntime", "precision": edits.ready.precision}
    assert metrics.registry.get_sample_value("hiper_engine_info", labels) == 1


@pytest.mark.parametrize(("levels", "fits"), [(int(MAX_RMS), True), (int(MAX_RMS) + 1, False)])
def test_rounding_passes_and_anything_more_does_not(
    warm_up: WarmUp, edits: EditClient, portal: BlockingPortal, tmp_path: Path, levels: int, fits: bool
) -> None:
    check(warm_up, edits, portal)
    [kept] = (tmp_path / "warm_up").iterdir()
    pixels = np.asarray(Image.open(kept)).astype(np.int16)
    Image.fromarray(np.where(pixels < 128, pixels + levels, pixels - levels).astype(np.uint8)).save(kept)
    found = check(warm_up, edits, portal)
    assert found is None if fits else found is not None and f"by {levels}.0 of 255" in found


def test_another_size_or_a_damaged_picture_is_told(
    warm_up: WarmUp, edits: EditClient, portal: BlockingPortal, tmp_path: Path
) -> None:
    check(warm_up, edits, portal)
    [kept] = (tmp_path / "warm_up").iterdir()
    Image.new("RGB", (8, 8)).save(kept)
    assert "by inf of 255" in str(check(warm_up, edits, portal))
    kept.write_bytes(b"no picture")
    assert "the warm-up edit failed" in str(check(warm_up, edits, portal))
