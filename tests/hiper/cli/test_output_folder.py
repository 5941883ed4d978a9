"""An output folder: all files of a set, or none."""

import pytest

from hiper.cli.names import slug, snapshots_path, subject_stem, tail_path
from hiper.cli.output_folder import OutputFolder
from hiper.errors import OutputError


def test_files_appear_together(tmp_path):
    with OutputFolder(tmp_path / "a" / "b") as folder:
        with folder.staged() as staging:
            (staging / "one").write_text("1")
            (staging / "two").write_text("2")
            assert not (folder.path / "one").exists()
        assert sorted(path.name for path in folder.path.iterdir()) == ["one", "two"]
    assert (tmp_path / "a" / "b" / "two").read_text() == "2"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_leaves_nothing(tmp_path, error):
    with pytest.raises(error), OutputFolder(tmp_path / "a" / "b") as folder, folder.staged() as staging:
        (staging / "one").write_text("1")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "out").mkdir()
    with OutputFolder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_dir()


def test_the_disk_refusing_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write to .*/file: .*; name a folder with room, -o FOLDER"):
        OutputFolder(tmp_path / "file").__enter__()
    with OutputFolder(tmp_path) as folder, pytest.raises(OutputError, match="No space left"), folder.staged():
        raise OSError(28, "No space left on device")


def test_free_names(tmp_path):
    (tmp_path / "rex.png").touch()
    folder = OutputFolder(tmp_path)
    assert [folder.free_name("rex", ".png") for _ in range(2)] == ["rex-2.png", "rex-3.png"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A sitting dog!", "a-sitting-dog"),
        ("../../etc", "etc"),
        ("Ein Bär", "ein-bär"),
        ("?!", "edit"),
        ("x" * 99, "x" * 60),
    ],
)
def test_prompts_become_names(prompt, name):
    assert slug(prompt) == name


def test_the_files_of_a_subject(tmp_path):
    tail = tail_path(tmp_path, "rex.old")
    assert tail.name == "rex.old.hiper.safetensors" and subject_stem(tail) == "rex.old"
    assert snapshots_path(tail) == tmp_path / "rex.old.snapshots.safetensors"
