"""Oracle: records whose figures the test made faster, slower or noisy."""

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.compare import compare, table
from benchmarks.report.records import RecordError, read_record, read_records
from tests.benchmarks.conftest import EDIT_SETTINGS, edit_results


def verdicts(changes):
    return {change.figure: change.verdict for change in changes}


@pytest.fixture
def pair(make_record):
    def make(before, after, **changes):
        older = read_record(make_record(folder="a", results=edit_results(1, diffusers=500, openvino=before)))
        return [older], [
            read_record(make_record(folder="b", results=edit_results(2, diffusers=500, openvino=after), **changes))
        ]

    return make


@pytest.mark.parametrize(
    ("after", "verdict"), [(200, "same"), (202, "same"), (250, "worse"), (160, "better"), (210, "unclear")]
)
def test_a_figure_is_worse_only_beyond_its_noise_and_the_threshold(pair, after, verdict):
    found = verdicts(compare(*pair(200, after)))
    assert found["openvino"] == verdict and found["diffusers"] == "same"
    assert found["openvino / speed_up"] == verdict
    assert found["openvino / resident_bytes"] == "same"


def test_noise_between_runs_counts(make_record):
    for day, median_ms in enumerate((190, 200, 210, 215), start=1):
        make_record(folder="a", day=day, results=edit_results(day, diffusers=500, openvino=median_ms))
        make_record(folder="b", day=day, results=edit_results(day, diffusers=500, openvino=median_ms + 14))
    sides = [read_records([make_record(folder=side, day=9).parent]) for side in "ab"]
    assert verdicts(compare(*([r for r in side if r.time < "2026-01-05"] for side in sides)))["openvino"] == "unclear"


def test_one_sample_a_side_needs_a_tenth(make_record):
    def record(folder, mib):
        results = edit_results(diffusers=500)
        results["diffusers"]["resident_bytes"] = mib * 2**20
        return [read_record(make_record(folder=folder, results=results))]

    assert verdicts(compare(record("a", 300), record("b", 325)))["diffusers / resident_bytes"] != "worse"
    assert verdicts(compare(record("a", 300), record("b", 340)))["diffusers / resident_bytes"] == "worse"


def test_a_figure_that_is_gone_is_no_success(make_record):
    before, after = (make_record(folder=side) for side in "ab")
    after.write_text(before.read_text())
    after = make_record(folder="b", results=edit_results(diffusers=500), errors={"openvino": "it crashed"})
    result = CliRunner().invoke(app, ["compare", str(before), str(after)])
    assert result.exit_code == 1 and "| edit-menagerie: openvino | 220 ms | - | - | gone |" in result.stdout
    assert "edit-menagerie: openvino failed: it crashed" in result.stderr


def test_a_record_that_is_gone_is_no_success(make_record):
    folders = [str(make_record(folder=side).parent) for side in "ab"]
    make_record("fit-menagerie", {"bf16": {"samples_ms": [100, 101]}}, folder="a")
    result = CliRunner().invoke(app, ["compare", *folders])
    assert result.exit_code == 1 and "| fit-menagerie: bf16 | 100 ms | - | - | gone |" in result.stdout


def test_the_exit_code_is_for_machines(make_record):
    same = [str(make_record(folder=side).parent) for side in "ab"]
    found = CliRunner().invoke(app, ["compare", *same])
    assert found.exit_code == 0 and found.stdout.count("|") == 12 and "figures: " in found.stdout
    make_record(folder="b", results=edit_results(3, diffusers=500, openvino=300))
    assert CliRunner().invoke(app, ["compare", *same]).exit_code == 1
    assert "| same |" in CliRunner().invoke(app, ["compare", *same, "--all"]).stdout


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_digest": "e" * 64}, "are of models with other weights; measure both alike$"),
        (
            {"settings": EDIT_SETTINGS | {"steps": 50}},
            r"steps is 30 in edit-\S+ and 50 in edit-\S+; measure both",
        ),
        ({"settings": EDIT_SETTINGS | {"fit": {"steps": 5}, "rounds": 3}}, ""),
    ],
)
def test_only_what_was_measured_alike_is_compared(pair, changes, sentence):
    if not sentence:
        compare(*pair(200, 200, **changes))
        return
    with pytest.raises(RecordError, match=sentence):
        compare(*pair(200, 200, **changes))


def test_nothing_in_common_is_an_error(make_record):
    with pytest.raises(RecordError, match=r"^A and B have no record of the same script and model; measure both with"):
        compare([read_record(make_record())], [read_record(make_record("fit-menagerie", {}))])


def test_the_table_counts_verdicts(pair):
    assert table(compare(*pair(200, 250))).note == "10 figures: 8 same, 2 worse."
