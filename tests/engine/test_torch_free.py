"""An edit from prompt to pixels, in a process that has no PyTorch in it and tells nobody what it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = "torch diffusers transformers accelerate onnx export hiper"
CODE = """
import sys
from engine.bundle import open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
image = Editor(open_bundle(sys.argv[1], sys.argv[2])).edit([EditRequest("a dog", num_inference_steps=3)])[0].image
print(image.shape, sorted(set(sys.argv[3].split()) & {name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_edit_needs_no_pytorch(toy_bundle: Path, runtime: str) -> None:
    command = [sys.executable, "-c", CODE, toy_bundle, runtime, FORBIDDEN]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(32, 32, 3) []"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_leave_no_trace_in_the_home_folder(
    toy_bundle: Path, runtime: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    # Their makers' telemetry keeps an identity there, except where CI is true.
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)}
    command = [sys.executable, "-c", CODE, toy_bundle, runtime, FORBIDDEN]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert not [*home.rglob("*")]
