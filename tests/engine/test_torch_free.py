"""An edit from prompt to pixels, in a process that has no PyTorch in it."""

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
