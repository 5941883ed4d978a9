"""A bundle against the model it came from; and what happens when building one is not to be."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.bundle import open_bundle
from engine.bundle_files import read_manifest
from engine.errors import BundleError, OutputError
from export import room
from export.build import build_bundle
from export.config import ExportConfig
from export.unfinished import unfinished_folder
from hiper.models import StableDiffusion, load_model

CONFIG = ExportConfig()
PROMPTS = ("", "a dog", "A  Dog,\n cat!", "Ünïcödé 犬 🐕", "dog " * 100, "a" * 300)


def test_the_manifest_describes_the_model(exported: Path, model: StableDiffusion) -> None:
    manifest = read_manifest(exported)
    assert (manifest.model_digest, manifest.dim, manifest.family) == (model.digest, model.dim, model.family)
    assert manifest.schedule.load().alphas_cumprod.tolist() == model.alphas_cumprod.tolist()
    assert manifest.export_arguments[1:] == ("--precision=fp32", "--size=64x64", "--size=80x64")
    assert manifest.edit_psnr_db > 50
    assert all(artifact.relative_error < 1e-4 for artifact in manifest.networks.values())
    assert manifest.tools["torch"] == torch.__version__


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("rows", "height", "width"), [(1, 8, 8), (5, 12, 8)])
def test_the_unet_equals_diffusers(
    exported: Path, model: StableDiffusion, runtime: str, rows: int, height: int, width: int
) -> None:
    torch.manual_seed(0)
    sample, embedding = torch.randn(rows, 4, height, width), torch.randn(rows, 77, model.dim)
    timestep = torch.linspace(0, 999, rows)
    with torch.no_grad():
        expected = model.unet(sample, timestep, embedding).sample
    step = {"sample": sample, "timestep": timestep, "encoder_hidden_states": embedding}
    found = open_bundle(exported, runtime).unet({name: tensor.numpy() for name, tensor in step.items()})
    np.testing.assert_allclose(found["out_sample"], expected, atol=1e-5)


def test_the_text_encoder_equals_the_model(exported: Path, model: StableDiffusion) -> None:
    bundle, prompts = open_bundle(exported, "onnxruntime"), ["a dog", "", "A cat, sitting"]
    ids = np.array([encoding.ids for encoding in bundle.tokenizer.encode_batch(prompts)])
    found = bundle.text_encoder({"input_ids": ids})["prompt_embedding"]
    np.testing.assert_allclose(found, model.encode_prompt(prompts), atol=1e-5)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_tokenizer_equals_transformers(exported: Path, model: StableDiffusion, prompt: str) -> None:
    expected = model.tokenizer(prompt, padding="max_length", max_length=77).input_ids
    assert open_bundle(exported, "onnxruntime").tokenizer.encode(prompt).ids == expected


def test_the_vae_equals_the_model(exported: Path, model: StableDiffusion) -> None:
    bundle = open_bundle(exported, "onnxruntime")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 80, 64, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    latents = bundle.encoder({"image": pixels})
    np.testing.assert_allclose(latents["latent_mean"], model.encode_image(image), atol=1e-5)
    with torch.no_grad():
        std = model.vae.encode(image).latent_dist.std * model.latent_scale
    np.testing.assert_allclose(latents["latent_std"], std, atol=1e-5)
    decoded = bundle.decoder({"latent_sample": latents["latent_mean"]})["image"]
    expected = model.decode_latents(torch.from_numpy(latents["latent_mean"])).permute(0, 2, 3, 1) * 127.5 + 127.5
    assert np.abs(decoded - expected.numpy()).max() < 0.51


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_nothing(model: StableDiffusion, tmp_path: Path, stop: BaseException) -> None:
    def report(what: str, done: float) -> None:
        if list((tmp_path / "bundles").glob(".tiny.*.tmp")):
            raise stop

    with pytest.raises((KeyboardInterrupt, MemoryError, OutputError)):
        build_bundle(model, tmp_path / "bundles" / "tiny", CONFIG, (), report=report)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_refuses_a_folder_that_is_taken(model: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        build_bundle(model, tmp_path, CONFIG, ())
    assert str(caught.value) == f"{tmp_path} exists already; choose another folder, or replace it with --force"


def test_a_failed_export_leaves_the_old_bundle(model: StableDiffusion, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").touch()

    def report(what: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bundle(model, tmp_path / "old", CONFIG, (), force=True, report=report)
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "manifest.json"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").touch()
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if source.name.endswith(".tmp"):
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with (
        pytest.raises(OutputError, match=r"^cannot write .*/old: Permission denied; "),
        unfinished_folder(tmp_path / "old", force=True),
    ):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "manifest.json"]


def test_what_cannot_be_read_meanwhile_is_not_called_unwritable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), unfinished_folder(tmp_path / "new", force=False):
        (tmp_path / "model").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_never_replaces_what_is_no_bundle(model: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        build_bundle(model, tmp_path, CONFIG, (), force=True)
    assert str(caught.value) == f"{tmp_path} is no bundle, --force replaces nothing else; choose another folder"


def test_refuses_early_without_memory(model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2048 kB\nMemAvailable: 1024 kB\n")
    monkeypatch.setattr(room, "_MEMINFO", meminfo)
    with pytest.raises(OutputError, match=r"^the export needs about 0\.1 GiB of memory, there are 0\.0 GiB; close"):
        build_bundle(model, tmp_path / "bundle", CONFIG, ())
    assert list(tmp_path.iterdir()) == [meminfo]


def test_refuses_early_without_disk(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"^the export needs about 1024\.1 GiB of disk, there are .*; choose a folder"
    ):
        room.check_room(tmp_path / "bundle", disk_bytes=2**40, memory_bytes=0)


@pytest.mark.parametrize("size", [(72, 64), (64, 0), (8, 8)])
def test_refuses_a_size_off_the_grid(model: StableDiffusion, tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(BundleError, match=f"^size is {size[0]}x{size[1]} but this model makes multiples of 16 "):
        build_bundle(model, tmp_path / "bundle", ExportConfig(sizes=(size,)), ())


def test_a_model_that_predicts_v_keeps_its_schedule(sd2_folder: Path) -> None:
    from export.describe import describe_schedule

    schedule = describe_schedule(load_model(sd2_folder)).load()
    assert schedule.prediction_type == "v_prediction"
