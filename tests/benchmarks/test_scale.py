"""Oracle: durations that give known ratios."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.record import Samples
from benchmarks.report.build import compose
from benchmarks.report.records import read_record
from benchmarks.scale import ON_RAY, ONE, TWO
from benchmarks.servers.client import Answer
from engine.server.encode_image import encode_image
from engine.server.image_answers import AnswerImage
from engine.server.messages import Pixels


def test_gains_are_ratios_of_throughput_in_the_same_round() -> None:
    samples = {ONE: [100.0, 400.0, 100.0], ON_RAY: [200.0, 800.0, 125.0], TWO: [100.0, 400.0, 125.0]}
    found = scale.results({name: Samples([], timed) for name, timed in samples.items()}, edits=10)
    assert found["gain"]["a second engine"] == {"median_ratio": 2.0, "interval": [1.0, 2.0], "ratios": [2.0, 2.0, 1.0]}
    assert found["gain"]["Ray"]["median_ratio"] == 0.5
    assert found["Offline"][ONE]["edits_per_s"] == 100.0
    assert [table.row_count for table in scale.tables(found)] == [3, 2]


def test_a_side_that_failed_has_no_gain() -> None:
    found = scale.results({ONE: Samples([], [1.0]), ON_RAY: Samples([], [2.0])}, edits=1)
    assert found["gain"] == {
        "a second engine": None,
        "Ray": {"median_ratio": 0.5, "interval": [0.5, 0.5], "ratios": [0.5]},
    }


def test_the_report_shows_gains_with_intervals(make_record: Callable[..., Path]) -> None:
    samples = {ONE: [100.0, 100.0, 100.0], ON_RAY: [200.0, 200.0, 250.0]}
    found = scale.results({name: Samples([], timed) for name, timed in samples.items()}, edits=10)
    settings = {"model": "menagerie", "runtime": "openvino", "precision": "fast", "edits": 10}
    sides, gains = compose([read_record(make_record("scale-menagerie", found, settings=settings))])[2][0].blocks
    assert sides.rows == [[ONE, "100"], [ON_RAY, "50.0 [40.0, 50.0]"]]
    assert gains.rows == [["a second engine", "-"], ["Ray", "0.500 [0.400, 0.500]"]]


@pytest.mark.parametrize(("level", "errors"), [(7, {}), (8, {TWO: f"its pictures are not those of {ONE}"})])
def test_another_picture_is_an_error(level: int, errors: dict[str, str]) -> None:
    assert scale._strangers({ONE: [painted(7)], TWO: [painted(level)]}) == errors


def painted(level: int) -> Answer:
    file = encode_image(Pixels(2, 2, np.full(12, level, np.uint8).tobytes()), "png")
    image = AnswerImage(b64_json=base64.b64encode(file).decode(), seed=0)
    return Answer(1.0, 1.0, 200, f'{{"data": [{image.model_dump_json()}]}}'.encode())
