"""Oracles: layers counted by hand, autograd's own order of passes, and the floor under every prediction."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import UNet2DConditionModel

from benchmarks import ladder
from benchmarks.datasheets import DATASHEETS
from benchmarks.operations import flops, trace_decoder, trace_unet
from benchmarks.random_model import ARCHITECTURES
from benchmarks.record import RECORDS, ROOT
from benchmarks.report import performance
from benchmarks.report.build import compose
from benchmarks.report.readme import updated
from benchmarks.report.records import RecordError, read_records

TINY = ARCHITECTURES["tiny"][1]
H100 = {"name": "NVIDIA H100 80GB HBM3"}


def layers_by_hand():
    """Operations of convolutions and linear layers in a real call of one row."""
    unet, total = UNet2DConditionModel(**TINY), [0]

    def add(layer, inputs, output):
        total[0] += 2 * layer.weight[0].numel() * output.numel()

    for layer in unet.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(add)
    unet(torch.zeros(1, 4, 8, 8), 500, torch.zeros(1, 77, 64))
    return total[0], sum(parameter.numel() for parameter in unet.parameters())


def test_operations_are_those_of_the_layers_and_of_attention():
    layers, parameters = layers_by_hand()
    found = trace_unet(TINY, 1)
    attention = sum(one.flops for one in found.forward if "attention" in one.name)
    assert attention > 0 and flops(found.forward) == layers + attention
    assert found.weight_bytes == 4 * parameters and found.backward == ()
    assert trace_unet(TINY, 1, torch.float16).weight_bytes == 2 * parameters
    assert flops(trace_unet(TINY, 3).forward) == 3 * flops(found.forward)


def test_attention_in_parts_does_the_same_and_moves_more():
    fused, parts = (trace_unet(TINY, 2, fused_attention=fused) for fused in (True, False))
    assert flops(fused.forward) == flops(parts.forward)
    assert sum(one.moved_bytes for one in parts.forward) > sum(one.moved_bytes for one in fused.forward)


def test_a_gradient_of_the_tail_is_cheaper_than_those_of_the_weights():
    tail, weights = (trace_unet(TINY, 1, gradients=wanted) for wanted in ("tail", "weights"))
    assert flops(tail.forward) == flops(weights.forward)
    assert flops(tail.backward) < flops(weights.backward) <= 2.5 * flops(weights.forward)
    added = [one for one in weights.backward if one.name == "add_"]
    assert len(added) == len(list(UNet2DConditionModel(**TINY).parameters()))


def test_views_move_nothing_and_additions_move_three_tensors():
    found = trace_unet(TINY, 1).forward
    assert all(one.moved_bytes == 0 for one in found if one.name in ("view", "t", "transpose", "permute"))
    assert next(one for one in found if one.name == "silu").moved_bytes == 2 * 4 * 64
    assert trace_decoder(ARCHITECTURES["tiny"][2], 8).forward


@pytest.mark.parametrize("device", DATASHEETS)
@pytest.mark.parametrize("rung", [*ladder.FIT, *ladder.EDIT], ids=lambda rung: f"{rung.case}-{rung.rows}")
def test_no_prediction_is_below_its_floor(rung, device):
    found = ladder.predict(rung, "tiny", DATASHEETS[device])
    assert 0 < found["floor_ms"] < found["device_ms"] <= found["predicted_ms"] >= found["host_ms"]


def test_each_step_of_the_ladder_takes_no_longer_than_the_one_before_it():
    sheet = DATASHEETS["h100"]
    for rungs in (ladder.FIT[:-1], ladder.EDIT[:5]):
        times = [ladder.predict(rung, "tiny", sheet)["predicted_ms"] for rung in rungs]
        assert all(later <= 1.01 * earlier for earlier, later in pairwise(times))
    faster = replace(sheet, bytes_per_s=2 * sheet.bytes_per_s)
    assert ladder.predict(ladder.FIT[0], "tiny", faster) != ladder.predict(ladder.FIT[0], "tiny", sheet)


def test_cases_and_ways_of_the_ladder_exist():
    from benchmarks.fit import EXECUTIONS, PUBLISHED
    from benchmarks.ways import check_way

    assert {rung.case for rung in ladder.FIT} <= {PUBLISHED, *EXECUTIONS}
    for rung in ladder.EDIT:
        check_way(rung.case)


@pytest.fixture(scope="module")
def ladder_record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    ladder.main("tiny", ["h100"], folder)
    return next(folder.iterdir())


DOCUMENT = f"Before.\n{performance.BEGIN}\nold\n{performance.END}\nAfter.\n"


def test_outcomes_come_from_records_of_the_same_model_rows_and_gpu(ladder_record, make_record):
    made = json.loads(ladder_record.read_text())["results"]["predictions"]["h100"]["fit"]
    on_gpu = {"cpu": "any", "cores": 16, "load_average": 0, "memory_bytes": 1, "gpus": [H100]}
    settings = {"model": "tiny", "device": "cuda", "rows": 4}
    case = made[7]["case"]
    fit = make_record("fit-tiny-rows4", {case: {"samples_ms": [8.0] * 5}}, hardware=on_gpu, settings=settings)
    other = make_record(
        "fit-sd1", {case: {"samples_ms": [1.0]}}, hardware=on_gpu, settings={**settings, "model": "sd1"}
    )
    settings = {"model": "x/tiny", "device": "cuda"}
    edit = make_record("edit-tiny", {"tensorrt": {"samples_ms": [77.0] * 3}}, hardware=on_gpu, settings=settings)
    steps = {"tensorrt": {"16": {"distinct": {"samples_ms": [32.0] * 3}}}}
    rows = make_record("rows-tiny", steps, hardware=on_gpu, settings=settings)
    content = updated(DOCUMENT, read_records([ladder_record, fit, other, edit, rows]))
    assert content.startswith(f"Before.\n{performance.BEGIN}\n| tiny at 512 pixels") and content.endswith("After.\n")
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip(" |") for line in content.splitlines()}
    assert lines["4 timesteps a step"] == "2.00" and lines["CUDA graph"] == performance.WAITING
    assert lines["TensorRT, one graph a call"] == "77.0" and lines["16 edits in a batch, TensorRT"] == "100"
    elsewhere = read_records([ladder_record, make_record("edit-tiny", day=2, settings=settings)])
    assert "77.0" not in updated(DOCUMENT, elsewhere)


def test_a_report_shows_what_is_expected(ladder_record):
    _, _, sections = compose(read_records([ladder_record]))
    counts, gpu, fit, edit = sections[0].blocks
    assert sections[0].title == "Expected on a GPU: tiny" and gpu.text == "H100:"
    assert len(counts.rows) == 4 and len(fit.rows) == len(ladder.FIT) and len(edit.rows) == len(ladder.EDIT)


def test_a_document_without_its_record_or_its_end_is_refused(make_record, ladder_record):
    with pytest.raises(RecordError, match=r"^the records hold no ladder; run: python -m benchmarks\.ladder$"):
        updated(DOCUMENT, read_records([make_record()]))
    with pytest.raises(RecordError, match=r"lacks the lines '<!-- ladder: written by hiper-bench report"):
        updated(DOCUMENT.replace(performance.END, ""), read_records([ladder_record]))


def test_the_page_says_what_the_records_say():
    page = ROOT / "docs" / "performance.md"
    assert updated(page.read_text(), read_records([RECORDS])) == page.read_text(), (
        "the tables are old; run: hiper-bench report benchmarks/records --readme docs/performance.md"
    )
