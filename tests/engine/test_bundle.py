"""A bundle, opened whole and damaged in every way; its networks are known formulas."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.bundle import open_bundle
from engine.errors import BundleError, RuntimeMissingError
from engine.runtimes import Network, RuntimeOptions, choice, load_network

EXPORT = "mend it with: hiper-export 'toy model' -o {folder}"


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_TIME_BUDGET_S", 0.02)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runs_every_network(toy_bundle: Path, runtime: str) -> None:
    bundle = open_bundle(toy_bundle, runtime)
    random = np.random.default_rng(0)
    latents = random.standard_normal((2, 4, 4, 4), np.float32)
    ids = np.array([bundle.tokenizer.encode(text).ids for text in ("a dog", "")])
    embedding = bundle.text_encoder({"input_ids": ids})["prompt_embedding"]
    timestep = np.float32([0, 500])
    step = {"sample": latents, "timestep": timestep, "encoder_hidden_states": embedding}
    expected = latents / 2 + (embedding.mean((1, 2)) + timestep / 1000)[:, None, None, None]
    np.testing.assert_allclose(bundle.unet(step)["out_sample"], expected, rtol=1e-5, atol=1e-6)
    image = bundle.decoder({"latent_sample": latents})["image"]
    colours = np.clip(latents[:, :3] * 127.5 + 127.5, 0, 255).round().astype(np.uint8)
    assert (image == colours.transpose(0, 2, 3, 1).repeat(8, 1).repeat(8, 2)).all()
    assert (bundle.encoder({"image": image})["latent_mean"][:, 0] == colours[:, 0]).all()


def test_the_tokenizer_pads_and_cuts_nothing_off(toy_bundle: Path) -> None:
    tokenizer = open_bundle(toy_bundle, "onnxruntime").tokenizer
    assert tokenizer.encode("a dog").ids == [0, 4, 5, 1] + [2] * 73
    assert len(tokenizer.encode("a " * 100).ids) == 102


def test_auto_takes_the_fastest_and_says_why(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    assert bundle.runtime in ("onnxruntime", "openvino")
    assert bundle.reason.startswith(f"it was the fastest here at a UNet call of two rows: {bundle.runtime} ")
    assert all(runtime in bundle.reason for runtime in ("onnxruntime", "openvino"))


def test_auto_remembers_what_it_measured(toy_bundle: Path, tmp_path: Path) -> None:
    first = open_bundle(toy_bundle)
    memory = tmp_path / "cache" / "hiper" / "runtimes.json"
    ((key, latency_ms),) = json.loads(memory.read_text()).items()
    memory.write_text(json.dumps({key: {name: 1000 - value for name, value in latency_ms.items()}}))
    assert {first.runtime, open_bundle(toy_bundle).runtime} == {"onnxruntime", "openvino"}


def _load_with(monkeypatch: pytest.MonkeyPatch, errors: dict[str, Exception]) -> list[str]:
    """Let runtimes raise; returns the names of all that are asked for from now on."""
    asked: list[str] = []

    def load(artifact: Path, runtime: str, options: RuntimeOptions) -> Network:
        asked.append(runtime)
        if runtime in errors:
            raise errors[runtime]
        return load_network(artifact, runtime, options)

    monkeypatch.setattr("engine.bundle.load_network", load)
    return asked


def test_auto_measures_again_when_what_it_remembers_is_gone(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = open_bundle(toy_bundle).runtime
    asked = _load_with(monkeypatch, {gone: RuntimeMissingError("its driver is gone")})
    assert {gone, open_bundle(toy_bundle).runtime} == {"onnxruntime", "openvino"}
    assert asked[0] == gone and len(asked) > 2


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (choice, "gpu_names", lambda: ["Double, CUDA 13.0"]),
        (choice, "_processor", lambda: "model name: another"),
        (os, "sched_getaffinity", lambda pid: range(1000)),
    ],
)
def test_auto_measures_again_on_another_machine(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: Any
) -> None:
    open_bundle(toy_bundle)
    asked = _load_with(monkeypatch, {})
    first = open_bundle(toy_bundle).runtime
    assert asked == [first]
    monkeypatch.setattr(module, name, value, raising=False)
    assert open_bundle(toy_bundle).unet and len(asked) > 2


def test_auto_survives_a_candidate_that_fails_tells_it_and_forgets(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load_with(monkeypatch, {"openvino": RuntimeError("cudaHostAlloc failed")})
    opened = open_bundle(toy_bundle)
    assert opened.runtime == "onnxruntime"
    assert opened.reason.endswith(" ms; openvino failed with RuntimeError: cudaHostAlloc failed")
    assert not (tmp_path / "cache" / "hiper" / "runtimes.json").exists()


def test_auto_says_why_nothing_runs(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _load_with(monkeypatch, {name: MemoryError(f"no memory for {name}") for name in ("openvino", "onnxruntime")})
    with pytest.raises(RuntimeMissingError, match=r"^no runtime can run this bundle here: .*no memory for op"):
        open_bundle(toy_bundle)


@pytest.mark.parametrize("damage", ["", "[]", '{"a": 1}', '{"a": {"openvino": "x"}}'])
def test_auto_forgets_a_damaged_memory(toy_bundle: Path, tmp_path: Path, damage: str) -> None:
    memory = tmp_path / "cache" / "hiper" / "runtimes.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(damage)
    assert open_bundle(toy_bundle).runtime


def test_fast_stays_close_to_exact(toy_bundle: Path) -> None:
    step = {
        "sample": np.random.default_rng(0).standard_normal((1, 4, 4, 4), np.float32),
        "timestep": np.float32([7]),
        "encoder_hidden_states": np.zeros((1, 77, 8), np.float32),
    }
    exact, fast = (
        open_bundle(toy_bundle, "openvino", RuntimeOptions(precision)).unet(step)["out_sample"]
        for precision in ("exact", "fast")
    )
    np.testing.assert_allclose(exact, fast, atol=0.05)


def test_refuses_an_unknown_runtime(toy_bundle: Path) -> None:
    with pytest.raises(ValueError, match=r"^the runtime is 'onnx'; use auto or one of onnxruntime, "):
        open_bundle(toy_bundle, "onnx")


def test_refuses_tensorrt_where_it_is_not(toy_bundle: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"^TensorRT is not here .*; pip install tensorrt cuda-bindings$"):
        _ = open_bundle(toy_bundle, "tensorrt").unet


def test_refuses_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        open_bundle(tmp_path)
    command = f"hiper-export MODEL -o {tmp_path} --force"
    assert str(caught.value) == (
        f"{tmp_path}/manifest.json cannot be read: no such file; export the bundle again: {command}"
    )


def test_refuses_a_newer_manifest(toy_bundle: Path) -> None:
    path = toy_bundle / "manifest.json"
    path.write_text(path.read_text().replace("hiper.bundle/1", "hiper.bundle/2"))
    with pytest.raises(BundleError, match=r"its format is 'hiper\.bundle/2' and this version reads 'hiper\.bundle/1'"):
        open_bundle(toy_bundle)


@pytest.mark.parametrize("name", ["unet.onnx", "decoder.onnx", "tokenizer.json"])
def test_refuses_a_missing_file(toy_bundle: Path, name: str) -> None:
    (toy_bundle / name).unlink()
    with pytest.raises(BundleError) as caught:
        open_bundle(toy_bundle)
    remedy = EXPORT.format(folder=shlex.quote(str(toy_bundle)))
    assert str(caught.value) == f"{toy_bundle}/{name} is missing; {remedy} --force"


def test_refuses_a_file_of_another_size(toy_bundle: Path) -> None:
    path = toy_bundle / "unet.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        BundleError, match=rf"unet\.onnx has {size - 1} bytes, its manifest says {size}; mend it with: "
    ):
        open_bundle(toy_bundle)


@pytest.mark.parametrize("runtime", ["auto", "onnxruntime", "openvino"])
def test_refuses_an_altered_file_before_it_is_used(toy_bundle: Path, runtime: str) -> None:
    path = toy_bundle / "unet.onnx"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"unet\.onnx is not the file that was exported, its digest differs"):
        _ = open_bundle(toy_bundle, runtime).unet
