"""Each kind of bad input: one clear sentence, its exit code, nothing lost and nothing half-written."""

import errno
import json
import shutil
import struct
import zlib

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engine import atomic_file


def refusal(called):
    """The one sentence, and the exit code; nothing goes to stdout."""
    assert called.stdout == ""
    [line] = [line for line in called.stderr.splitlines() if line.startswith("error: ")]
    assert called.stderr.endswith(f"{line}\n")
    return line.removeprefix("error: "), called.exit_code


def huge(path):
    """The head of a PNG of 30000 x 30000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def animated(path):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def truncated(path):
    Image.effect_noise((64, 64), 50).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1000])


IMAGES = {
    "no such file": lambda path: None,
    "is no picture that can be read": lambda path: path.write_text("a standing dog"),
    "is damaged": truncated,
    "is 1x1, at least 32 pixels": lambda path: Image.new("RGB", (1, 1)).save(path, "PNG"),
    "is too large": huge,
    "is animated": animated,
}


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_forgotten_prompt_is_what_is_said_to_be_missing(hiper_fit, rex, pictures):
    called = hiper_fit(*[rex] * pictures)
    assert called.exit_code == 2 and "say what the picture shows: hiper-fit" in " ".join(called.stderr.split())


@pytest.mark.parametrize("reason", IMAGES)
def test_images(hiper_fit, tmp_path, reason):
    IMAGES[reason](tmp_path / "rex")
    message, code = refusal(hiper_fit(tmp_path / "rex", "a dog", "-o", tmp_path / "out"))
    assert code == 3 and str(tmp_path / "rex") in message
    assert reason in message
    assert not (tmp_path / "out").exists()


def test_empty_prompts(hiper_fit, hiper_edit, rex, fitted, sd1_folder, tmp_path):
    where = ("--model", sd1_folder, "-o", tmp_path / "out")
    for called in (hiper_fit(rex, " ", *where), hiper_fit(rex, "a dog", "--edit", "", *where)):
        assert refusal(called) == (
            "prompt is empty but must say what is to be seen; write a few words, like 'a standing dog'",
            4,
        )
    assert refusal(hiper_edit(fitted, "", *where))[1] == 4
    assert not (tmp_path / "out").exists()


def test_a_long_prompt_is_found_before_the_fit(hiper_fit, rex, sd1_folder, tmp_path):
    where = ("--model", sd1_folder, "-o", tmp_path / "out")
    message, code = refusal(hiper_fit(rex, "a dog", "--edit", "dog " * 71 + "and a cat", *where))
    assert code == 4 and "70 fit between its start, its end and a tail of 5; leave out 'dog and a cat'" in message
    assert not (tmp_path / "out").exists()


def changed_tail(fitted, path, change=lambda tensors, metadata: None):
    """A copy of a tail file after `change`."""
    with open(fitted, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    tensors, metadata = load_file(fitted), header["__metadata__"]
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    return path


def with_nan(tensors, metadata):
    tensors["tail"][0, 0] = torch.nan


def narrower(tensors, metadata):
    metadata["dim"] = "12"
    for name in tensors:
        tensors[name] = tensors[name][:, :12].contiguous()


def of_another_family(tensors, metadata):
    metadata["family"] = "sd2"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_nan, "is not a tail file: a tensor has values that are not finite; make one with hiper-fit"),
        (narrower, "tail is 12 wide but the text encoder of tiny-sd1 is 768 wide; fit it again with tiny-sd1"),
        (of_another_family, "tail is for the family sd2 but tiny-sd1 is sd1; fit it again with tiny-sd1"),
    ],
)
def test_tails(hiper_fit, hiper_edit, rex, fitted, sd1_folder, tmp_path, change, reason):
    tail = changed_tail(fitted, tmp_path / "odd.hiper.safetensors", change)
    where = ("--model", sd1_folder, "-o", tmp_path / "out")
    for called in (hiper_edit(tail, "a cat", *where), hiper_fit(rex, "a dog", "--warm-start", tail, *where)):
        message, code = refusal(called)
        assert code == 5 and reason in message
    assert not (tmp_path / "out").exists()


def test_a_picture_instead_of_a_tail(hiper_edit, rex, tmp_path):
    message, code = refusal(hiper_edit(rex, "a cat", "-o", tmp_path / "out"))
    assert code == 5 and "rex.png is not a tail file" in message


@pytest.mark.parametrize("kind", ["StableDiffusionXLPipeline", "FluxPipeline", None])
def test_models(hiper_fit, rex, tmp_path, kind):
    folder = tmp_path / "model"
    folder.mkdir()
    if kind:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    message, code = refusal(hiper_fit(rex, "a dog", "--model", folder, "-o", tmp_path / "out"))
    assert code == 6 and "supported are Stable Diffusion 1.x and 2.x in diffusers layout" in message
    assert (f"is a {kind}" if kind else "is no pipeline") in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["fit", "edit"])
def test_a_folder_that_cannot_be_made(hiper_fit, hiper_edit, rex, fitted, sd1_folder, tmp_path, command):
    (tmp_path / "file").write_text("mine")
    first, call = (rex, hiper_fit) if command == "fit" else (fitted, hiper_edit)
    message, code = refusal(call(first, "a dog", "--model", sd1_folder, "-o", tmp_path / "file" / "out"))
    assert (message, code) == (
        f"cannot write to {tmp_path / 'file' / 'out'}: Not a directory; name a folder with room, -o FOLDER",
        7,
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_what_was_there(hiper_edit, fitted, sd1_folder, tmp_path, monkeypatch):
    shutil.copy(fitted, tmp_path / "rex.hiper.safetensors")
    written = []

    def write(path, data):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path.write_bytes(data))

    monkeypatch.setattr(atomic_file, "_write_to_disk", write)
    message, code = refusal(hiper_edit(fitted, "a cat", "a dog", "--model", sd1_folder, "-o", tmp_path))
    assert code == 7 and "No space left on device" in message
    assert [path.name for path in tmp_path.iterdir()] == ["rex.hiper.safetensors"]


def test_what_this_machine_cannot_do(hiper_fit, rex, sd1_folder, tmp_path):
    where = ("--model", sd1_folder, "-o", tmp_path / "out")
    message, code = refusal(hiper_fit(rex, "a dog", "--cuda-graph", *where))
    assert code == 11 and "a CUDA graph needs an NVIDIA GPU but the device is cpu" in message


def test_wrong_options_end_before_anything_starts(hiper_fit, hiper_edit, rex, fitted):
    for called in (
        hiper_fit(rex),
        hiper_fit(rex, "a dog", "--preset", "quick"),
        hiper_fit(rex, "a dog", "--steps", 0),
        hiper_edit(fitted, "a dog", "--seeds", "x"),
        hiper_edit(fitted, "a dog", "--solver", "euler"),
    ):
        assert called.exit_code == 2 and called.stdout == "" and "Usage: " in called.stderr
