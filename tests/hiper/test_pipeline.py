"""HiPer's own interface: what it hands to the parts that have their own tests, with diffusers as the oracle."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

import hiper
from hiper import HiPer, splice
from hiper.errors import ImageError, PromptError, TailError
from hiper.fit import FitConfig, fit_tail
from hiper.models import StableDiffusion
from hiper.snapshot_file import SnapshotError, read_snapshots

SHORT = FitConfig(steps=4, seed=3)
QUICK = {"num_inference_steps": 3, "guidance_scale": 3.0}


def pixels(pictures):
    return np.stack([np.asarray(picture).astype(int) for picture in pictures])


def assert_same(ours, theirs):
    assert pixels(ours).std() > 10, "a flat picture proves nothing"
    assert np.abs(pixels(ours) - pixels(theirs)).max() <= 1


both_families = pytest.mark.parametrize("folder", ["sd1_folder", "sd2_folder"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def folder(request):
    return request.getfixturevalue(getattr(request, "param", "sd1_folder"))


@pytest.fixture(scope="module")
def model(folder):
    return HiPer.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((96, 64))


@pytest.fixture(scope="module")
def tail(model, picture):
    return model.fit(picture, "a standing dog", config=SHORT)


@pytest.fixture(scope="module")
def diffusers(folder):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@both_families
def test_a_fit_is_fit_tail_on_what_diffusers_encodes(tail, model, diffusers, picture):
    image = torch.from_numpy(np.array(picture.crop((16, 0, 80, 64)))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        latents = diffusers.vae.encode(image).latent_dist.sample(torch.Generator().manual_seed(3))
        embedding, _ = diffusers.encode_prompt("a standing dog", "cpu", 1, False)
    *_, last = fit_tail(
        diffusers.unet,
        latents * diffusers.vae.config.scaling_factor,
        embedding,
        diffusers.scheduler.alphas_cumprod,
        SHORT,
        prediction_type=diffusers.scheduler.config.prediction_type,
    )
    torch.testing.assert_close(tail.vectors, last.tail, rtol=0, atol=1e-4)
    torch.testing.assert_close(tail.initial, embedding[0, -5:])


def test_a_tail_knows_where_it_comes_from(tail, model, folder):
    info = tail.info
    assert (info.model_id, info.source_prompt, info.seed, info.step) == (folder.name, "a standing dog", 3, 4)
    assert info.model_digest == model.model.digest and len(info.source_image_sha256) == 1
    assert info.settings["learning_rate"] == 5e-3 and info.settings["crop"] == "centre"
    assert [step for step, _ in info.loss_trace] == [1, 2, 3, 4]
    assert info.tail_strength == 0.8


@both_families
def test_a_tail_works_in_plain_diffusers(tail, model, diffusers, tmp_path):
    """The three lines of the README."""
    hiper.save(tail, tmp_path / "rex.hiper.safetensors")
    embedding, _ = diffusers.encode_prompt("a sitting dog", "cpu", 1, False)
    tail_vectors = hiper.load(tmp_path / "rex.hiper.safetensors").vectors.to(embedding)
    generator = torch.Generator().manual_seed(5)
    theirs = diffusers(prompt_embeds=splice(embedding, tail_vectors, 0.8), generator=generator, **QUICK).images
    assert_same(model.edit(tail, "a sitting dog", seed=5, **QUICK), theirs)
    torch.testing.assert_close(model.embed(tail, "a sitting dog"), splice(embedding, tail_vectors, 0.8))


@both_families
def test_text_alone_and_negative_prompts_are_as_in_diffusers(model, diffusers):
    options = QUICK | {"negative_prompt": "a cat"}
    theirs = diffusers("a sitting dog", generator=torch.Generator().manual_seed(5), **options).images
    assert_same(model.edit(None, "a sitting dog", seed=5, **options), theirs)


@pytest.mark.parametrize(("guidance_scale", "encoded"), [(3.0, ["fog"]), (1.0, [])])
def test_the_negative_prompt_is_encoded_once_and_only_for_guidance(tail, model, monkeypatch, guidance_scale, encoded):
    encode, prompts = StableDiffusion.encode_prompt, []

    def watched(loaded, prompt, *rest):
        prompts.append(prompt)
        return encode(loaded, prompt, *rest)

    monkeypatch.setattr(StableDiffusion, "encode_prompt", watched)
    options = QUICK | {"guidance_scale": guidance_scale, "negative_prompt": "fog"}
    model.edit(tail, "a cat", num_images_per_prompt=3, batch_size=1, **options)
    assert prompts[1:] == encoded


@pytest.mark.parametrize("several", [False, True], ids=["one generator", "a list"])
def test_generators_are_drawn_from_as_in_diffusers(tail, model, diffusers, several):
    def generator():
        one = torch.Generator().manual_seed(1)
        return [one, torch.Generator().manual_seed(2)] if several else one

    options = QUICK | {"num_images_per_prompt": 2}
    theirs = diffusers(prompt_embeds=model.embed(tail, "a cat"), generator=generator(), **options).images
    ours = model.edit(tail, "a cat", generator=generator(), **options)
    assert_same(ours, theirs)
    assert all("seed" not in picture.info for picture in ours)


def test_a_picture_is_the_same_alone_and_in_a_batch(tail, model):
    together = model.edit(tail, ["a cat", "a dog"], seed=7, num_images_per_prompt=2, batch_size=3, **QUICK)
    assert [(picture.info["prompt"], picture.info["seed"]) for picture in together] == [
        ("a cat", "7"),
        ("a cat", "8"),
        ("a dog", "7"),
        ("a dog", "8"),
    ]
    assert_same([together[3]], model.edit(tail, "a dog", seed=[8], **QUICK))
    assert np.abs(pixels(together)[2] - pixels(together)[3]).max() > 10


def test_a_picture_tells_how_to_make_it_again(tail, model):
    info = model.edit(tail, "a cat", solver="dpmpp_2m", tail_strength=0.5, negative_prompt="fog", **QUICK)[0].info
    assert info == {
        "prompt": "a cat",
        "negative_prompt": "fog",
        "seed": "0",
        "guidance_scale": "3.0",
        "num_inference_steps": "3",
        "solver": "dpmpp_2m",
        "tail_strength": "0.5",
        "tail_sha256": tail.digest,
        "source_prompt": "a standing dog",
        "model": tail.info.model_id,
        "model_sha256": model.model.digest,
    }
    assert not {"tail_sha256", "tail_strength"} & model.edit(None, "a cat", **QUICK)[0].info.keys()


def test_callbacks_see_every_step(tail, model, picture):
    seen, progress = [], []
    model.edit(tail, ["a", "b", "c"], batch_size=2, callback=lambda *step: seen.append(step), **QUICK)
    assert [step for step, _, _ in seen] == [0, 1, 2, 0, 1, 2]
    assert seen[0][1] > seen[1][1] and seen[0][2].shape == (2, 4, 8, 8)
    model.fit(picture, "a dog", config=SHORT, callback=progress.append)
    assert [step.step for step in progress] == [1, 2, 3, 4]


def test_the_models_recipe_is_followed(model, picture, monkeypatch):
    monkeypatch.setattr(model, "recipe", replace(model.recipe, steps=2, tail_strength=0.7, num_inference_steps=2))
    tail = model.fit(picture, "a dog")
    assert tail.info.step <= 2 and tail.info.tail_strength == 0.7
    seen = []
    assert model.edit(tail, "a cat", callback=lambda *step: seen.append(step))[0].info["tail_strength"] == "0.7"
    assert len(seen) == 2


def test_an_interrupted_fit_resumes_to_the_same_tail(tail, model, picture, tmp_path):
    path, options = tmp_path / "rex.snapshots.safetensors", {"config": SHORT, "snapshots_every": 1}

    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(picture, "a standing dog", snapshots=path, callback=interrupt, **options)
    with pytest.raises(SnapshotError, match="holds this very fit up to step 2; resume it, or delete it"):
        model.fit(picture, "a standing dog", snapshots=path, **options)
    with pytest.raises(SnapshotError, match="belongs to a fit with another prompt"):
        model.fit(picture, "a dog", snapshots=path, resume=True, **options)
    resumed = model.fit(picture, "a standing dog", snapshots=path, resume=True, **options)
    assert torch.equal(resumed.vectors, tail.vectors) and resumed.info == tail.info
    assert list(read_snapshots(path).tails) == [1, 2, 3, 4]
    again = model.fit(picture, "a standing dog", snapshots=path, resume=True, **options)
    assert again.digest == tail.digest and again.info == tail.info


def test_several_images_and_another_tail_to_start_from(tail, model, picture):
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    both = model.fit([picture, other], "a standing dog", config=SHORT, init=tail)
    assert len(both.info.source_image_sha256) == 2
    assert torch.equal(both.initial, tail.vectors)
    assert not torch.equal(both.vectors, tail.vectors)


def test_what_cannot_be_used_is_named(tail, model, picture, tmp_path):
    other = replace(tail, info=replace(tail.info, family="clip-128"))
    with pytest.raises(TailError, match="tail is for the family clip-128"):
        model.edit(other, "a cat")
    with pytest.raises(TailError, match="tail is for the family clip-128"):
        model.fit(picture, "a dog", init=other)
    with pytest.raises(TailError, match=r"the tail to start from is 5 x .* but this fit needs 10 x"):
        model.fit(picture, "a dog", subject="person", init=tail)
    with pytest.raises(ImageError, match="no such file"):
        model.fit(tmp_path / "none.png", "a dog")
    with pytest.raises(ValueError, match="there are 1 generators for 2 pictures"):
        model.edit(tail, ["a", "b"], generator=[torch.Generator()], **QUICK)
    with pytest.raises(ValueError, match="tail_strength is nan but must be a finite number"):
        model.edit(tail, "a", tail_strength=float("nan"))
    with pytest.raises(ValueError, match="no picture is asked for; give a seed"):
        model.edit(tail, "a", num_images_per_prompt=0)
    with pytest.raises(ValueError, match="seed is -1; use 0 to 9223372036854775807"):
        model.fit(picture, "a dog", seed=-1)


@pytest.mark.parametrize("prompt", ["", "  ", [], ["a cat", ""]])
def test_an_empty_prompt_is_an_error(tail, model, prompt):
    with pytest.raises(PromptError, match="prompt is empty but must say what is to be seen; write a few words"):
        model.edit(tail, prompt)


def test_a_prompt_that_is_no_text_is_an_error(tail, model):
    with pytest.raises(PromptError, match="is no UTF-8 text"):
        model.edit(tail, "a \udcff")


def test_importing_hiper_loads_no_pytorch():
    code = "import sys, hiper; print('torch' in sys.modules, 'HiPer' in hiper.__all__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
    assert all(getattr(hiper, name) for name in hiper.__all__)
    with pytest.raises(AttributeError, match="module 'hiper' has no attribute 'Hiper'"):
        _ = hiper.Hiper
