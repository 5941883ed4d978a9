"""A toy bundle, a tail for it, and tables; the oracles are `hiper-edit`, `hiper-fit` and the table itself."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.tail_file import TailFile, write_tail_file
from engine.tail_info import TailInfo
from tests.engine.conftest import DIM, write_toy_bundle

WriteTable = Callable[..., Path]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "toy"
    folder.mkdir()
    write_toy_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def tail_file() -> TailFile:
    rows = np.random.default_rng(0).standard_normal((5, DIM), np.float32)
    return TailFile(rows, rows, TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog", tail_strength=0.7))


@pytest.fixture
def tail(tmp_path: Path, tail_file: TailFile) -> Path:
    path = tmp_path / "rex.hiper.safetensors"
    write_tail_file(path, tail_file)
    return path


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    def write(rows: Sequence[dict[str, Any]], name: str = "table.csv") -> Path:
        names = {name: None for row in rows for name in row}
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.DictWriter(file, [*names])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write
