"""Oracle: diffusers' pipeline, which every peer must agree with."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.record import ROOT
from benchmarks.ways import Job, open_way

pytest.importorskip("openvino_genai", reason="the extra bench-peers is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what tracing PyTorch says of diffusers
def test_genai_makes_the_picture_of_diffusers_without_pytorch(sd1_folder, tmp_path):
    from benchmarks.genai_files import write_genai

    write_genai(str(sd1_folder), tmp_path / "genai")
    written = (tmp_path / "genai" / "unet" / "openvino_model.bin").stat().st_mtime_ns
    write_genai(str(sd1_folder), tmp_path / "genai")
    assert written == (tmp_path / "genai" / "unet" / "openvino_model.bin").stat().st_mtime_ns
    job = Job(str(sd1_folder), "", steps=3, guidance_scale=4.0, peers=str(tmp_path / "genai"))
    wanted = open_way("diffusers", job).make().picture
    made = open_way("openvino-genai", job).make()
    assert made.picture.shape == wanted.shape and np.abs(made.picture.astype(int) - wanted).max() <= 1
    assert len(made.timings.unet_ms) == 3 and min(made.timings.unet_ms) > 0
    assert 0 <= made.timings.other_ms < made.timings.total_ms
    script = "import sys, benchmarks.peers, benchmarks.ways; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
