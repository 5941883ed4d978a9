"""Laid-out TensorRT plans, built by the doubles: what Triton is told of profiles, rows and GPUs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tritonclient.grpc import model_config_pb2

from engine import record
from engine.bundle_files import file_sha256, read_manifest
from engine.errors import BundleError
from engine.manifest import Plan
from export.config import PlanConfig
from export.plans import add_plans
from export.triton.plan_choice import count_rows
from export.triton.repository import lay_out
from hiper.models import StableDiffusion
from tests.export.triton.server_double import read_config
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]


def plan(bundle: Path, model: StableDiffusion, rows: tuple[int, ...]) -> None:
    add_plans(model, bundle, PlanConfig(rows=rows), lambda what, done: None)


def write_plans(bundle: Path, plans: Sequence[Plan]) -> None:
    text = record.dump(replace(read_manifest(bundle), plans=tuple(plans)))
    (bundle / "manifest.json").write_text(text)


def test_takes_rows_that_all_have_a_profile(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, tmp_path: Path
) -> None:
    plan(bundle, model, (1, 2, 4))
    lay_out(bundle, tmp_path / "models", tensorrt=gpu.trt.__version__)
    unet, decoder = (read_config(tmp_path / "models" / name) for name in ("unet", "decoder"))
    assert (unet.backend, unet.platform) == ("tensorrt", "tensorrt_plan")
    # Three rows would fit no profile; those of four rows are left out, for both sizes.
    assert unet.max_batch_size == 2
    assert [(group.kind, list(group.profile)) for group in unet.instance_group] == [
        (model_config_pb2.ModelInstanceGroup.KIND_GPU, ["0", "1", "3", "4"])
    ]
    assert unet.dynamic_batching.max_queue_delay_microseconds == 1000
    assert not unet.dynamic_batching.preferred_batch_size
    assert decoder.max_batch_size == 1
    assert not decoder.HasField("dynamic_batching")


def test_plans_of_several_gpus_lie_side_by_side(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, tmp_path: Path
) -> None:
    plan(bundle, model, (1, 2))
    gpu.cuda.compute_capability = (12, 0)
    plan(bundle, model, (1, 2))
    lay_out(bundle, tmp_path / "models", tensorrt=gpu.trt.__version__)
    config = read_config(tmp_path / "models" / "unet")
    assert dict(config.cc_model_filenames) == {"9.0": "model.sm9.0.plan", "12.0": "model.sm12.0.plan"}
    for one in read_manifest(bundle).plans:
        name = f"model.sm{one.compute_capability}.plan"
        assert file_sha256(tmp_path / "models" / one.network / "1" / name) == one.file.sha256


def test_refuses_plans_that_differ_in_rows(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, tmp_path: Path
) -> None:
    plan(bundle, model, (1, 2))
    gpu.cuda.compute_capability = (12, 0)
    plan(bundle, model, (1,))
    with pytest.raises(
        BundleError, match=r"^the plans of the unet for TensorRT .* have different profiles .*--tensorrt$"
    ):
        lay_out(bundle, tmp_path / "models", tensorrt=gpu.trt.__version__)


def test_refuses_plans_of_other_versions(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, tmp_path: Path
) -> None:
    plan(bundle, model, (1,))
    with pytest.raises(BundleError) as caught:
        lay_out(bundle, tmp_path / "models", tensorrt="9.0.0")
    version = gpu.trt.__version__
    message = f"{bundle} has plans of the text_encoder for TensorRT {version}, not for 9.0.0; with that TensorRT run: "
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "models").exists()


def test_refuses_plans_of_an_older_export(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, tmp_path: Path
) -> None:
    plan(bundle, model, (1,))
    write_plans(bundle, [replace(one, onnx_sha256="0" * 64) for one in read_manifest(bundle).plans])
    with pytest.raises(BundleError, match="has plans of the text_encoder for TensorRT none, not for"):
        lay_out(bundle, tmp_path / "models", tensorrt=gpu.trt.__version__)


def test_refuses_plans_without_single_rows(
    gpu: SimpleNamespace, bundle: Path, model: StableDiffusion, tmp_path: Path
) -> None:
    plan(bundle, model, (2, 4))
    with pytest.raises(
        BundleError, match=r"^the plans of the unet take 2, 4, 2, 4 rows .*--tensorrt --rows 1 --rows 2$"
    ):
        lay_out(bundle, tmp_path / "models", tensorrt=gpu.trt.__version__)


def test_the_rarest_size_bounds_the_rows() -> None:
    profiles = [{"a": (rows, side)} for side, counts in ((8, (1, 2, 3)), (9, (2, 1))) for rows in counts]
    assert count_rows(profiles) == 2
