"""Oracles: plain indexing for splice, trigonometry for slerp, arithmetic for the average."""

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from engine.tail_check import OtherCheckpointWarning
from hiper.errors import HiPerError, TailError
from hiper.tail import Tail, TailInfo, average, check_tail, interpolate, load, save, splice

INFO = TailInfo(
    "a/model", "0" * 64, "sd1", "epsilon", clip_skip=0, source_prompt="a dog", source_image_sha256=("a" * 64,)
)


def tail_of(vectors: torch.Tensor, **changes: object) -> Tail:
    return Tail(vectors, torch.zeros_like(vectors), replace(INFO, **changes))


@dataclass(frozen=True)
class Model:
    model_id: str = "another/model"
    digest: str = "0" * 64
    family: str = "sd1"
    dim: int = 6
    clip_skip: int = 0


def test_splice_keeps_the_head_and_scales_the_tail() -> None:
    prompt_embedding, tail = torch.randn(3, 77, 6), torch.randn(5, 6)
    original = prompt_embedding.clone()
    spliced = splice(prompt_embedding, tail, 0.8)
    for image in range(3):
        for row in range(77):
            expected = original[image, row] if row < 72 else 0.8 * tail[row - 72]
            assert torch.equal(spliced[image, row], expected)
    assert torch.equal(prompt_embedding, original)


def test_a_tail_is_shown_by_where_it_comes_from() -> None:
    tail = tail_of(torch.randn(10, 768), loss_trace=tuple((step, 0.1) for step in range(1000)))
    assert "a dog" in repr(tail) and len(repr(tail)) < 1000


def test_splicing_a_prompt_with_its_own_rows_changes_nothing() -> None:
    prompt_embedding = torch.randn(1, 77, 6)
    assert torch.equal(splice(prompt_embedding, prompt_embedding[0, -5:]), prompt_embedding)


def test_splice_lets_gradients_reach_only_the_tail() -> None:
    tail = torch.randn(5, 6, requires_grad=True)
    splice(torch.randn(2, 77, 6), tail, 0.5).sum().backward()
    assert torch.equal(tail.grad, torch.full((5, 6), 2 * 0.5))


def test_splice_refuses_what_does_not_fit() -> None:
    with pytest.raises(
        ValueError, match="tail is 4 wide but this prompt embedding is 6 wide; use a tail of this model"
    ):
        splice(torch.randn(1, 77, 6), torch.randn(5, 4))
    with pytest.raises(ValueError, match="tail has 78 rows but this prompt embedding has 77; use a shorter tail"):
        splice(torch.randn(1, 77, 6), torch.randn(78, 6))


def test_save_and_load(tmp_path: Path) -> None:
    tail = Tail(torch.randn(5, 6), torch.randn(5, 6), INFO)
    save(tail, tmp_path / "dog.hiper.safetensors")
    loaded = load(tmp_path / "dog.hiper.safetensors")
    assert torch.equal(loaded.vectors, tail.vectors) and torch.equal(loaded.initial, tail.initial)
    assert (loaded.info, loaded.digest, loaded.tail_tokens, loaded.dim) == (tail.info, tail.digest, 5, 6)


def test_errors_of_files_are_errors_of_hiper(tmp_path: Path) -> None:
    with pytest.raises(HiPerError) as caught:
        load(tmp_path / "none.hiper.safetensors")
    assert caught.type is TailError and caught.value.exit_code == 5


def test_a_tail_of_its_own_model_passes_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_tail(tail_of(torch.randn(5, 6)), Model())


def test_another_checkpoint_of_the_family_is_a_warning() -> None:
    with pytest.warns(
        OtherCheckpointWarning, match="fitted with a/model but another/model has other weights"
    ) as caught:
        check_tail(tail_of(torch.randn(5, 6)), Model(digest="1" * 64))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (
            Model(dim=8),
            "tail is 6 wide but the text encoder of another/model is 8 wide; fit it again with another/model",
        ),
        (Model(family="clip-6"), "tail is for the family sd1 but another/model is clip-6; fit it again"),
        (
            Model(clip_skip=1),
            "fitted with clip_skip 0 but another/model is loaded with 1; load the model with clip_skip 0",
        ),
    ],
)
def test_a_tail_of_another_kind_of_model_is_an_error(model: Model, complaint: str) -> None:
    with pytest.raises(TailError, match=complaint):
        check_tail(tail_of(torch.randn(5, 6)), model)


def test_interpolation_ends_at_its_ends() -> None:
    first, second = tail_of(torch.randn(5, 6)), tail_of(torch.randn(5, 6))
    torch.testing.assert_close(interpolate(first, second, 0.0).vectors, first.vectors)
    torch.testing.assert_close(interpolate(first, second, 1.0).vectors, second.vectors)


def test_interpolation_turns_evenly_and_grows_evenly() -> None:
    first, second = tail_of(torch.tensor([[2.0, 0.0]])), tail_of(torch.tensor([[0.0, 4.0]]))
    for amount in (0.25, 0.5, 0.75):
        angle, length = amount * math.pi / 2, 2 + 2 * amount
        expected = torch.tensor([[length * math.cos(angle), length * math.sin(angle)]])
        torch.testing.assert_close(interpolate(first, second, amount).vectors, expected)


def test_interpolation_of_rows_without_an_arc_is_straight() -> None:
    vectors = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(interpolate(tail_of(vectors), tail_of(3 * vectors), 0.5).vectors, 2 * vectors)


def test_average_is_the_mean_and_remembers_its_sources() -> None:
    tails = [
        tail_of(torch.full((2, 3), value), source_image_sha256=(digit * 64,))
        for value, digit in ((1.0, "a"), (4.0, "b"))
    ]
    mean = average(tails)
    assert torch.equal(mean.vectors, torch.full((2, 3), 2.5))
    assert mean.info.source_image_sha256 == ("a" * 64, "b" * 64)
    assert mean.info.settings == {"averaged": 2, "tails": f"{tails[0].digest} {tails[1].digest}"}


def test_tails_of_different_kinds_do_not_mix() -> None:
    with pytest.raises(TailError, match=r"found \(5, 6\) of sd1, clip_skip 0 and \(5, 6\) of sd2, clip_skip 0"):
        average([tail_of(torch.randn(5, 6)), tail_of(torch.randn(5, 6), family="sd2")])
    with pytest.raises(TailError, match="wanted one kind"):
        interpolate(tail_of(torch.randn(5, 6)), tail_of(torch.randn(10, 6)), 0.5)
    with pytest.raises(TailError, match="got no tail"):
        average([])
