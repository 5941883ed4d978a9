"""Cross-attention maps against softmax(QK^T) written as loops, and a UNet that must not notice."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from hiper.attention import (
    AttentionMaps,
    attention_maps,
    attention_sheet,
    label_maps,
    recorded_attention,
    word_positions,
)
from hiper.fit import FitConfig
from hiper.models import load_model
from hiper.pipeline import HiPer


def looped(layer, hidden_states, encoder_hidden_states):
    """Mean over heads of softmax(QK^T / sqrt(d)), number by number, (rows, positions, tokens)."""
    query, key = layer.to_q(hidden_states).tolist(), layer.to_k(encoder_hidden_states).tolist()
    width = len(query[0][0]) // layer.heads
    result = torch.zeros(len(query), len(query[0]), len(key[0]))
    for row in range(len(query)):
        for head in range(layer.heads):
            part = slice(head * width, (head + 1) * width)
            for position, q in enumerate(query[row]):
                scores = [math.fsum(a * b for a, b in zip(q[part], k[part], strict=True)) for k in key[row]]
                weights = [math.exp(score / math.sqrt(width)) for score in scores]
                result[row, position] += torch.tensor(weights) / sum(weights) / layer.heads
    return result


def test_maps_are_the_mean_of_every_layer(fit_inputs):
    unet, latents = fit_inputs.unet, fit_inputs.latents
    layers, inputs = [], []
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            layers.append(module)
            module.register_forward_pre_hook(
                lambda module, args, kwargs: inputs.append((module, args[0], kwargs["encoder_hidden_states"])),
                with_kwargs=True,
            )
    with torch.no_grad(), recorded_attention(unet, 8, 8) as record:
        for timestep in (900, 100):
            unet(latents, timestep, fit_inputs.prompt_embedding.expand(2, -1, -1))

    wanted = torch.zeros(2, 77, 8, 8)
    for module, hidden_states, encoder_hidden_states in inputs:
        scores = looped(module, hidden_states, encoder_hidden_states)
        side = math.isqrt(scores.shape[1])
        picture = scores.transpose(1, 2).reshape(2, 77, side, side)
        wanted += interpolate(picture, (8, 8), mode="bilinear") / len(inputs)
    assert len(inputs) == 2 * len(layers) and {len(hidden[0]) for _, hidden, _ in inputs} == {64, 16}
    torch.testing.assert_close(record.maps(), wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(record.maps().sum(1), torch.ones(2, 8, 8))


def test_recording_changes_nothing(fit_inputs):
    unet, latents, embedding = fit_inputs.unet, fit_inputs.latents[:1], fit_inputs.prompt_embedding
    with torch.no_grad():
        before = unet(latents, 500, embedding).sample
        with recorded_attention(unet, 8, 8):
            during = unet(latents, 500, embedding).sample
    assert torch.equal(before, during)
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_latents_of_odd_and_unequal_sides(fit_inputs):
    with torch.no_grad(), recorded_attention(fit_inputs.unet, 6, 10) as record:
        fit_inputs.unet(torch.randn(1, 4, 6, 10), 500, fit_inputs.prompt_embedding)
    assert record.maps().shape == (1, 77, 6, 10)


def test_no_call_is_an_error(fit_inputs):
    with recorded_attention(fit_inputs.unet, 8, 8) as record, pytest.raises(ValueError, match="no attention was"):
        record.maps()


def test_words_are_found_by_their_tokens(sd1_folder):
    tokenizer = load_model(sd1_folder).tokenizer
    prompt = "A sitting  dog, cat"
    tokens = tokenizer(prompt).input_ids
    found = word_positions(tokenizer, prompt)
    assert [word for word, _ in found] == ["A", "sitting", "dog,", "cat"]
    texts = ["".join(tokenizer.decode(tokens[index]) for index in positions) for _, positions in found]
    assert [text.replace(" ", "") for text in texts] == ["a", "sitting", "dog,", "cat"]
    assert sorted(index for _, positions in found for index in positions) == list(range(1, len(tokens) - 1))


def test_tokens_add_up_to_words_and_tail():
    token_maps = torch.rand(77, 2, 2)
    maps = label_maps(token_maps, [("a", [1]), ("sitting", [2, 3])], tail_tokens=5)
    torch.testing.assert_close(
        maps, torch.stack([token_maps[1], token_maps[2] + token_maps[3], token_maps[72:].sum(0)])
    )


def test_a_map_is_hot_where_attention_is():
    maps = torch.zeros(2, 4, 4)
    maps[0, 0, 0], maps[1, 3, 3] = 0.5, 0.1
    attention = AttentionMaps(Image.new("RGB", (64, 64), "grey"), ("dog", "tail"), maps)
    assert attention.shares == pytest.approx([0.5 / 16, 0.1 / 16])
    sheet = np.asarray(attention_sheet(attention)).astype(int)
    red = sheet[..., 0] - sheet[..., 2]
    width, cell = 160 + 10, slice(20, 20 + 160)
    for column, corner in ((1, (0, 0)), (2, (1, 1))):
        part = red[cell, 20 + column * width :][:, :160]
        hottest = np.unravel_index(part.argmax(), part.shape)
        assert tuple(int(index > 80) for index in hottest) == corner


def test_many_words_take_several_lines():
    picture = Image.new("RGB", (64, 64), "grey")
    few, many = (
        attention_sheet(AttentionMaps(picture, ("word",) * count, torch.rand(count, 4, 4))) for count in (7, 20)
    )
    assert many.width == few.width and many.height > 2 * few.height


def test_maps_of_a_picture(sd1_folder):
    hiper, options = HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32"), {"num_inference_steps": 2}
    tail = hiper.fit(Image.effect_noise((64, 64), 80), "a dog", config=FitConfig(steps=1, learning_rate=1.0))
    attention = attention_maps(hiper, tail, "a sitting cat", **options)
    assert attention.labels == ("a", "sitting", "cat", "tail")
    assert attention.maps.shape == (4, 8, 8)
    assert 0 < sum(attention.shares) < 1
    assert np.array_equal(np.asarray(attention.picture), np.asarray(hiper.edit(tail, "a sitting cat", **options)[0]))
    unguided = attention_maps(hiper, tail, "a sitting cat", **options, guidance_scale=1.0)
    assert not torch.equal(unguided.maps, attention.maps)
