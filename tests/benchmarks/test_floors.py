"""Oracle: operations counted by hand from the shapes of layers."""

import json

import pytest
import torch

from benchmarks import floors
from hiper.models import load_model


def by_hand(network, call):
    """Two operations per multiply-add of every convolution and linear layer; attention's products are left out."""
    total = [0]

    def count(layer, inputs, output):
        each = layer.weight[0].numel()
        total[0] += 2 * each * output.numel()

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    call()
    for hook in hooks:
        hook.remove()
    return total[0]


def test_operations_are_those_of_the_layers_and_of_attention(sd1_folder):
    model = load_model(sd1_folder)
    found = floors.count(model)
    layers = by_hand(model.text_encoder, lambda: model.encode_prompt("a dog"))
    heads, config = model.text_encoder.config.num_attention_heads, model.text_encoder.config
    attention = config.num_hidden_layers * 2 * (2 * 77 * 77 * config.hidden_size)
    assert heads and found["text_encoder"]["flops"] == layers + attention
    latents, embedding = torch.zeros(1, 4, 8, 8), torch.zeros(1, 77, 768)
    unet = by_hand(model.unet, lambda: model.unet(latents, 500, embedding))
    assert unet < found["unet"]["flops"] < 1.1 * unet
    assert found["unet"]["weight_bytes"] == 4 * sum(p.numel() for p in model.unet.parameters())
    assert found["decoder"]["flops"] > 0 and found["encoder"]["flops"] > 0


def test_peaks_are_of_the_fastest_round():
    found = floors.peaks("cpu", rounds=3, gemm_side=128, copy_bytes=2**20)
    assert {"fp32", "fp32 onnxruntime", "copy"} <= found.keys()
    assert found["fp32"]["flops_per_s"] == pytest.approx(2 * 128**3 / min(found["fp32"]["samples_ms"]) * 1e3)
    assert found["copy"]["bytes_per_s"] == pytest.approx(2**21 / min(found["copy"]["samples_ms"]) * 1e3)


def test_the_record_names_the_model(sd1_folder, tmp_path):
    floors.main(str(sd1_folder), 1, "cpu", 64, 2**20, tmp_path)
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert record["name"] == "floors-tiny-sd1" and record["model_digest"] == load_model(sd1_folder).digest
