"""Builds the native core without Python and runs its own tests: under sanitizers, with CUDA, and with no compiler."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=ROOT, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    return result.stdout


def build_and_test(build: Path, *options: str) -> str:
    run("cmake", "-S", ROOT, "-B", build, *options)
    run("cmake", "--build", build, "--parallel", str(os.cpu_count()))
    return run("ctest", "--test-dir", build, "--output-on-failure")


@needs("cmake", "c++", "make")
def test_core_under_address_and_undefined_behaviour_sanitizers(tmp_path: Path) -> None:
    output = build_and_test(tmp_path, "-DHIPER_SANITIZE=ON", "-DHIPER_CUDA=OFF")
    assert "100% tests passed" in output


@needs("nvcc")
def test_cuda_kernels_compile_without_a_warning(tmp_path: Path) -> None:
    flags = ("-std=c++17", "--fmad=false", "-arch=sm_90", "-Werror", "all-warnings")
    run("nvcc", "-c", *flags, ROOT / "engine/native/rows.cu", "-o", tmp_path / "rows.o")


@pytest.mark.slow
@needs("cmake", "c++", "make", "nvcc")
def test_core_with_cuda_for_every_architecture(tmp_path: Path) -> None:
    """Without a GPU, CTest reports the comparison with the CPU as skipped."""
    assert "100% tests passed" in build_and_test(tmp_path, "-DHIPER_CUDA=ON")


@needs("cmake", "make")
@pytest.mark.parametrize(
    ("options", "reason"),
    [([], "there is no C++ compiler"), (["-DHIPER_NATIVE=OFF"], "HIPER_NATIVE is OFF")],
)
def test_without_a_compiler_the_build_says_so_and_succeeds(tmp_path: Path, options: list[str], reason: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cmake", "make"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    output = run("cmake", "-S", ROOT, "-B", tmp_path / "build", *options, environment={"PATH": str(tools)})
    assert f"without its native part: {reason}" in " ".join(output.split())


@needs("cmake", "make")
def test_a_native_part_that_was_demanded_is_not_left_out(tmp_path: Path) -> None:
    command = ["cmake", "-S", ROOT, "-B", tmp_path, "-DHIPER_NATIVE=ON"]
    result = subprocess.run(command, env={**os.environ, "CXX": "/no/such/compiler"}, capture_output=True, text=True)
    assert result.returncode != 0
    assert "HIPER_NATIVE is ON, but there is no C++ compiler" in " ".join(result.stderr.split())
