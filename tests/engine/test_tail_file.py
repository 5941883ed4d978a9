"""Oracle: safetensors itself writes the files, and every input either loads or raises TailError."""

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from engine import atomic_file
from engine.errors import OutputError, TailError
from engine.tail_file import (
    MAX_SIZE_BYTES,
    TailFile,
    parse_tail_file,
    read_tail_file,
    serialize_tail_file,
    tail_digest,
    write_tail_file,
)
from engine.tail_info import TailInfo

TAIL = np.arange(20, dtype=np.float32).reshape(5, 4)
INFO = TailInfo(
    model_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
    model_digest="0" * 64,
    family="sd1",
    prediction_type="epsilon",
    clip_skip=0,
    source_prompt='a "standing" dög',
    source_image_sha256=("a" * 64, "b" * 64),
    settings={"learning_rate": 5e-3, "steps": 1000, "preset": "paper", "centre": True, "warm_start": None},
    seed=200000,
    step=1000,
    loss_trace=((0, 0.25), (100, 0.125)),
    tail_strength=0.8,
)
METADATA = {
    "format": "hiper.tail/1",
    "tail_tokens": "5",
    "dim": "4",
    "model_id": "somewhere/a-model",
    "model_digest": "0" * 64,
    "family": "sd1",
    "prediction_type": "epsilon",
    "clip_skip": "0",
    "source_prompt": "a dog",
    "source_image_sha256": "[]",
    "settings": "{}",
    "seed": "1",
    "step": "2",
    "loss_trace": "[[0, 0.5]]",
    "tail_strength": "0.8",
}


def encoded(tensors: dict[str, Any] | None = None, **metadata: str | None) -> bytes:
    """A valid tail file, except for what is given; a value of None leaves a key out."""
    kept = {name: value for name, value in {**METADATA, **metadata}.items() if value is not None}
    return save_safetensors(tensors or {"tail": TAIL, "tail_init": TAIL}, metadata=kept)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dog.hiper.safetensors"


def test_round_trip(path: Path) -> None:
    write_tail_file(path, TailFile(TAIL, TAIL + 1, INFO))
    file = read_tail_file(path)
    np.testing.assert_array_equal(file.tail, TAIL)
    np.testing.assert_array_equal(file.tail_init, TAIL + 1)
    assert file.info == INFO
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_content_alone_can_be_made_and_read(path: Path) -> None:
    data = serialize_tail_file(TailFile(TAIL, TAIL + 1, INFO))
    path.write_bytes(data)
    for file in (read_tail_file(path), parse_tail_file(data)):
        np.testing.assert_array_equal(file.tail, TAIL)
        np.testing.assert_array_equal(file.tail_init, TAIL + 1)
        assert file.info == INFO
    with pytest.raises(TailError, match=r"^upload is not a tail file: .*; make one with hiper-fit"):
        parse_tail_file(data[:-1], "upload")
    with pytest.raises(TailError, match="tail is not a tail file: it is larger than 4194304 bytes"):
        parse_tail_file(bytes(MAX_SIZE_BYTES + 1))


def test_the_same_tail_gives_the_same_bytes() -> None:
    made = {serialize_tail_file(TailFile(TAIL, TAIL - 1, INFO)) for _ in range(20)}
    (data,) = made
    assert int.from_bytes(data[:8], "little") % 8 == 0
    assert parse_tail_file(data).info == INFO


def test_rows_that_lie_scattered_in_memory(path: Path) -> None:
    write_tail_file(path, TailFile(np.asfortranarray(TAIL), TAIL[::-1], INFO))
    file = read_tail_file(path)
    np.testing.assert_array_equal(file.tail, TAIL)
    np.testing.assert_array_equal(file.tail_init, TAIL[::-1])


def test_a_tail_of_five_rows_is_small(path: Path) -> None:
    rows = np.ones((5, 768), np.float32)
    write_tail_file(path, TailFile(rows, rows, INFO))
    assert 2 * rows.nbytes < path.stat().st_size < 2 * rows.nbytes + 2048


def test_digest_is_that_of_the_rows() -> None:
    assert tail_digest(TAIL) == tail_digest(np.asfortranarray(TAIL)) != tail_digest(TAIL + 1)
    assert TailFile(TAIL, TAIL + 1, INFO).digest == tail_digest(TAIL)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "header too small"),
        (b"\x80\x04\x95pickle", "is not a tail file"),
        (encoded({"tail": TAIL}), "it holds tail instead of tail and tail_init"),
        (encoded({"tail": TAIL, "tail_init": TAIL, "more": TAIL}), "it holds more, tail, tail_init"),
        (encoded({"tail": TAIL, "tail_init": TAIL.astype(np.float16)}), "a tensor is F16 instead of F32"),
        (encoded({"tail": TAIL, "tail_init": TAIL[:4]}), r"tail is \(5, 4\) but tail_init is \(4, 4\)"),
        (encoded({"tail": TAIL[0], "tail_init": TAIL[0]}), r"\(4,\) float32 instead of \(tail_tokens, dim\)"),
        (encoded({"tail": TAIL, "tail_init": TAIL * np.nan}), "not finite"),
        (encoded(format="hiper.tail/2"), "its format is 'hiper.tail/2' instead of 'hiper.tail/1'"),
        (encoded(seed=None), "its metadata is wrong about seed"),
        (encoded(extra="1"), "its metadata is wrong about extra"),
        (encoded(dim="5"), "another shape"),
        (encoded(seed="-1"), "seed is not a whole number"),
        (encoded(step="true"), "step is not a whole number"),
        (encoded(step="[" * 100_000), "step is not JSON"),
        (encoded(step="9" * 5000), "step is not JSON"),
        (encoded(tail_strength="NaN"), "tail_strength is not a finite number"),
        (encoded(tail_strength="1" + "0" * 400), "tail_strength is not a finite number"),
        (encoded(model_digest="xyz"), "model_digest is not a SHA-256"),
        (encoded(prediction_type="sample"), "prediction_type is not epsilon or v_prediction"),
        (encoded(settings='{"a": []}'), "settings is not text"),
        (encoded(settings='{"a": "\\ud800"}'), "settings is not text"),
        (encoded(loss_trace="[[1]]"), "loss_trace is not a list of"),
    ],
)
def test_wrong_files_are_named_for_what_is_wrong(path: Path, data: bytes, complaint: str) -> None:
    path.write_bytes(data)
    with pytest.raises(TailError, match=complaint):
        read_tail_file(path)


def test_missing_huge_and_strange_files(path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TailError, match=r"dog\.hiper\.safetensors is not a tail file: no such file; make one with hiper"
    ):
        read_tail_file(path)
    with pytest.raises(TailError, match="File name too long"):
        read_tail_file("x" * 5000)
    with pytest.raises(TailError, match="folder or device"):
        read_tail_file(tmp_path)
    with open(path, "wb") as file:
        file.truncate(MAX_SIZE_BYTES + 1)
    with pytest.raises(TailError, match="it is larger than 4194304 bytes"):
        read_tail_file(path)


def load_or_refuse(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    try:
        file = read_tail_file(path)
    except TailError:
        return
    assert file.tail.shape == file.tail_init.shape and np.isfinite(file.tail).all()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "any.hiper.safetensors"


@given(data=st.binary(max_size=300))
def test_random_bytes(fuzzed: Path, data: bytes) -> None:
    load_or_refuse(data, fuzzed)


@given(edits=st.lists(st.tuples(st.integers(0, len(encoded()) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutated_files(fuzzed: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray(encoded())
    for position, value in edits:
        data[position] = value
    load_or_refuse(bytes(data), fuzzed)


@given(header=st.text(max_size=200), body=st.binary(max_size=50))
@example(header='{"__metadata__": null}', body=b"")
@example(header='{"tail":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,0]}}', body=b"")
@example(
    header='{"tail":{"dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[0,0]},'
    '"tail_init":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}',
    body=b"",
)
@example(header="[" * 200, body=b"")
def test_wild_headers(fuzzed: Path, header: str, body: bytes) -> None:
    text = header.encode()
    load_or_refuse(struct.pack("<Q", len(text)) + text + body, fuzzed)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(METADATA)), value=json_values)
def test_wild_metadata(fuzzed: Path, name: str, value: object) -> None:
    load_or_refuse(encoded(**{name: json.dumps(value)}), fuzzed)


def test_bad_tails_are_not_written(path: Path) -> None:
    with pytest.raises(TailError, match=r"let it end in \.hiper\.safetensors"):
        write_tail_file(path.with_name("dog.safetensors"), TailFile(TAIL, TAIL, INFO))
    with pytest.raises(TailError, match="not finite"):
        write_tail_file(path, TailFile(np.full_like(TAIL, np.inf), TAIL, INFO))
    with pytest.raises(ValueError, match="seed is not a whole number"):
        replace(INFO, seed=-1)
    assert not path.exists()


def test_no_folder_is_an_output_error(path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; name a folder"):
        write_tail_file(path.parent / "missing" / path.name, TailFile(TAIL, TAIL, INFO))


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(path: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tail_file(path, TailFile(TAIL, TAIL, INFO))
    monkeypatch.setattr(atomic_file.os, stage, _raise(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left on device"):
        write_tail_file(path, TailFile(TAIL + 1, TAIL, INFO))
    np.testing.assert_array_equal(read_tail_file(path).tail, TAIL)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def _raise(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_killed_process_leaves_the_old_file(path: Path, stage: str) -> None:
    write_tail_file(path, TailFile(TAIL, TAIL, INFO))
    code = (
        "import os, signal, sys; from engine.atomic_file import write_atomically\n"
        f"os.{stage} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(sys.argv[1], b'half')"
    )
    result = subprocess.run([sys.executable, "-c", code, path], cwd=Path(__file__).parents[2], env=os.environ)
    assert result.returncode == -signal.SIGKILL
    np.testing.assert_array_equal(read_tail_file(path).tail, TAIL)
