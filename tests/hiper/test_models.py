"""Oracle: diffusers loads the same folders; wrong folders are named for what is wrong with them."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from hiper.errors import ModelError, PromptError
from hiper.models import StableDiffusion, load_model

PROMPTS = ["a sitting dog", "", "dog " * 60, "Ünïcode & ça"]


@pytest.fixture(scope="module", params=["sd1_folder", "sd2_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> StableDiffusion:
    return load_model(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(folder)


@pytest.fixture
def copy(sd1_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sd1_folder, tmp_path / "copy")


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_a_model_says_of_itself(sd1_folder: Path, sd2_folder: Path) -> None:
    sd1, sd2 = load_model(sd1_folder), load_model(str(sd2_folder), clip_skip=1)
    assert (sd1.family, sd1.dim, sd1.prediction_type, sd1.clip_skip) == ("sd1", 768, "epsilon", 0)
    assert (sd2.family, sd2.dim, sd2.prediction_type, sd2.clip_skip) == ("sd2", 1024, "v_prediction", 1)
    assert (sd1.model_id, sd1.image_size, sd1.vae_factor, sd1.max_tokens) == ("tiny-sd1", 64, 8, 77)
    assert sd1.latent_scale == 0.18215 and sd1.alphas_cumprod.shape == (1000,)


def test_everything_is_frozen(model: StableDiffusion) -> None:
    for network in (model.unet, model.vae, model.text_encoder):
        assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


def test_half_precision_leaves_the_text_encoder_alone(sd1_folder: Path) -> None:
    model = load_model(sd1_folder, dtype=torch.bfloat16)
    assert (model.unet.dtype, model.vae.dtype, model.text_encoder.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    )
    latents = model.encode_image(torch.zeros(1, 3, 64, 64))
    assert latents.dtype == model.decode_latents(latents).dtype == torch.float32


def test_digest_is_the_hash_of_the_weight_files(model: StableDiffusion, folder: Path) -> None:
    names = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
    weights = b"".join((folder / f"{name}.safetensors").read_bytes() for name in names)
    assert model.digest == hashlib.sha256(weights).hexdigest()


def test_prompts_are_encoded_as_by_diffusers(model: StableDiffusion, pipeline: StableDiffusionPipeline) -> None:
    expected, _ = pipeline.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=False)
    assert torch.equal(model.encode_prompt(PROMPTS), expected)
    assert torch.equal(model.encode_prompt(PROMPTS[0]), expected[:1])


def test_clip_skip_equals_a_text_encoder_without_its_last_layer(folder: Path) -> None:
    shorter = CLIPTextModel.from_pretrained(folder / "text_encoder", num_hidden_layers=1)
    model = load_model(folder, clip_skip=1)
    tokens = model.tokenizer(PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
    torch.testing.assert_close(model.encode_prompt(PROMPTS), shorter(tokens).last_hidden_state)


@torch.no_grad()
def test_latents_are_those_of_diffusers(model: StableDiffusion, pipeline: StableDiffusionPipeline) -> None:
    scale, image = pipeline.vae.config.scaling_factor, torch.rand(2, 3, 64, 64) * 2 - 1
    posterior = pipeline.vae.encode(image).latent_dist
    expected = posterior.sample(torch.Generator().manual_seed(5)) * scale
    latents = model.encode_image(image, torch.Generator().manual_seed(5))
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(model.encode_image(image), posterior.mode() * scale)
    decoded = pipeline.vae.decode(latents / scale).sample.clamp(-1, 1)
    torch.testing.assert_close(model.decode_latents(latents), decoded, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("tail_tokens", "room"), [(0, 75), (5, 70), (10, 65)])
def test_a_prompt_fills_the_room_before_the_tail_and_no_more(
    model: StableDiffusion, tail_tokens: int, room: int, capfd: pytest.CaptureFixture[str]
) -> None:
    model.encode_prompt(" ".join(["dog"] * room), tail_tokens)
    prompt = " ".join(["dog"] * room + ["Sitting", "cat"])
    with pytest.raises(
        PromptError, match=rf"but {room} fit between .* a tail of {tail_tokens}; leave out 'Sitting cat'"
    ):
        model.encode_prompt(["a dog", prompt], tail_tokens)
    assert capfd.readouterr() == ("", "")


def test_a_word_cut_by_the_limit_is_named_whole(model: StableDiffusion) -> None:
    with pytest.raises(PromptError, match=r"prompt has 78 tokens .*; leave out 'unfitting'"):
        model.encode_prompt(" ".join(["dog"] * 72 + ["unfitting"]))


def test_loading_is_silent(
    sd1_folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    load_model(sd1_folder, dtype=torch.bfloat16)
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")


def test_older_folders_with_a_vocabulary_and_merges(copy: Path, sd1_folder: Path) -> None:
    bpe = json.loads((copy / "tokenizer/tokenizer.json").read_text())["model"]
    (copy / "tokenizer/tokenizer.json").unlink()
    (copy / "tokenizer/vocab.json").write_text(json.dumps(bpe["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]]
    (copy / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    assert torch.equal(load_model(copy).encode_prompt(PROMPTS), load_model(sd1_folder).encode_prompt(PROMPTS))


def test_sharded_weights(copy: Path, sd1_folder: Path) -> None:
    (copy / "unet/diffusion_pytorch_model.safetensors").unlink()
    unet = load_model(sd1_folder).unet
    unet.save_pretrained(copy / "unet", max_shard_size="200KB")
    sharded = load_model(copy)
    assert len(list(copy.glob("unet/*-of-*.safetensors"))) > 1
    assert sharded.digest != load_model(sd1_folder).digest
    for name, weight in unet.state_dict().items():
        assert torch.equal(sharded.unet.state_dict()[name], weight)


def test_a_hub_model_comes_through_the_hub_cache(
    sd1_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hub can be asked here; its cache, laid out as the hub's own client does, stands in."""
    cached = tmp_path / "models--somebody--tiny"
    shutil.copytree(sd1_folder, cached / "snapshots/0123abc")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = load_model("somebody/tiny")
    assert model.model_id == "somebody/tiny" and model.family == "sd1"


def test_an_unknown_name() -> None:
    with pytest.raises(ModelError, match="nobody/nothing is neither a folder nor a model that the hub hands out"):
        load_model("nobody/nothing")
    with pytest.raises(ModelError, match=r"/no/such/folder is neither a folder nor"):
        load_model("/no/such/folder")


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    with pytest.raises(
        ModelError, match=r"is no pipeline: found cat\.png, wanted model_index\.json; supported are Stable"
    ):
        load_model(tmp_path)
    with pytest.raises(ModelError, match=r"cat\.png is no pipeline: found a file, wanted model_index\.json"):
        load_model(tmp_path / "cat.png")


@pytest.mark.parametrize("kind", ["StableDiffusionXLPipeline", "FluxPipeline", "StableDiffusion3Pipeline"])
def test_other_kinds_of_pipeline(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(
        ModelError, match=f"is a {kind}; supported are Stable Diffusion 1.x and 2.x in diffusers layout"
    ):
        load_model(tmp_path)


def test_inpainting_and_mismatched_text(copy: Path) -> None:
    edit_json(copy / "unet/config.json", in_channels=9)
    with pytest.raises(ModelError, match="has a UNet for inpainting"):
        load_model(copy)
    edit_json(copy / "unet/config.json", in_channels=4, cross_attention_dim=1024)
    with pytest.raises(ModelError, match="a UNet for text 1024 wide but a text encoder 768 wide"):
        load_model(copy)


def test_pickled_and_missing_weights(copy: Path) -> None:
    weights = copy / "vae/diffusion_pytorch_model.safetensors"
    weights.rename(copy / "vae/diffusion_pytorch_model.bin")
    complaint = r"no vae to load: found config\.json, diffusion_pytorch_model\.bin, wanted .*\.safetensors; pickled"
    with pytest.raises(ModelError, match=complaint):
        load_model(copy)
    shutil.rmtree(copy / "vae")
    with pytest.raises(ModelError, match="no vae to load: found nothing"):
        load_model(copy)


def test_damaged_weights_and_configurations(copy: Path) -> None:
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_in.bias"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unet lacks 1 weights, conv_in\.bias among them; download the model again"):
        load_model(copy)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"unet cannot be loaded: .*; download the model again"):
        load_model(copy)
    (copy / "unet/config.json").write_text("{")
    with pytest.raises(ModelError, match=r"unet/config\.json cannot be read"):
        load_model(copy)


def test_missing_tokenizer_and_scheduler(copy: Path) -> None:
    (copy / "tokenizer/tokenizer.json").rename(copy / "tokenizer/old.json")
    with pytest.raises(ModelError, match=r"copy/tokenizer has neither tokenizer\.json nor vocab\.json; download"):
        load_model(copy)
    (copy / "tokenizer/tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        load_model(copy)
    shutil.rmtree(copy / "scheduler")
    with pytest.raises(ModelError, match=r"wanted scheduler/scheduler_config\.json"):
        load_model(copy)


def test_clip_skip_has_limits(sd1_folder: Path) -> None:
    with pytest.raises(ModelError, match="clip_skip is 2 but the text encoder has 2 layers; use 0 to 1"):
        load_model(sd1_folder, clip_skip=2)
