"""The cases of the benchmark do the same work; what they measure is what they should differ in."""

from itertools import islice

import pytest
import torch

from benchmarks import fit
from benchmarks.fit import EXECUTIONS, main, measure_memory, measure_times, possible, published_loop, start
from benchmarks.memory import peak_bytes
from benchmarks.workload import workload
from hiper.execution import Execution


def test_both_loops_find_the_same_losses():
    for rows in (1, 3):
        ours, published = (list(islice(start(case, "tiny", "cpu", rows), 3)) for case in ("fp32", "published"))
        assert ours == pytest.approx(published, rel=1e-5)


def test_only_the_published_loop_collects_gradients_of_weights():
    work = workload("tiny")
    next(published_loop(work, "cpu"))
    assert all(parameter.grad is not None for parameter in work.unet.parameters())


def test_times_come_with_ratios_and_the_losses_behind_them():
    results = measure_times(["published", "fp32"], "tiny", "cpu", rounds=2)
    assert results["published"]["time_ratio_to_published"] == 1
    assert results["fp32"]["largest_loss_difference_to_published"] < 1e-6
    assert len(results["fp32"]["samples_ms"]) == 2 and len(results["fp32"]["losses"]) == 3


def test_a_case_that_fails_is_named_and_the_others_go_on(monkeypatch):
    monkeypatch.setitem(EXECUTIONS, "lost", Execution(device="cuda:99"))
    monkeypatch.setattr(fit, "replace", lambda execution, **_: execution)
    errors: dict[str, str] = {}
    results = measure_times(["published", "lost", "fp32"], "tiny", "cpu", rounds=1, errors=errors)
    assert [*results] == ["published", "fp32"] and errors["lost"].startswith("ExecutionError: device cuda:99")
    with pytest.raises(RuntimeError, match=r"^nothing can be compared, since lost failed: ExecutionError"):
        measure_times(["lost", "fp32"], "tiny", "cpu", rounds=1, errors={})


def test_what_the_machine_cannot_run_is_left_out_with_its_reason():
    if torch.cuda.is_available():
        pytest.skip("a machine with a GPU can run all of it")
    assert possible(["published", "fp32", "fp16"], "cpu") == (
        ["published", "fp32"],
        {"fp16": "fp16 needs a GPU but the device is cpu; use --dtype fp32 or bf16"},
    )
    assert possible(list(EXECUTIONS), "cpu")[1].keys() >= {"fp16", "bf16-graph"}


def test_peak_memory_sees_what_was_freed_again():
    peak = peak_bytes(lambda: torch.ones(100_000_000 // 4).sum(), "cpu")
    assert 0.9e8 < peak["peak_bytes"] - peak["before_bytes"] < 1.3e8
    assert peak_bytes(lambda: None, "cpu")["peak_bytes"] < peak["peak_bytes"]


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own():
    assert 1e8 < measure_memory("fp32", "tiny", "cpu")["peak_bytes"] < 1e9


@pytest.mark.slow
def test_the_benchmark_runs_and_leaves_a_record(tmp_path, capsys):
    main(model="tiny", case=["published", "fp32"], rounds=2, device="cpu", records=tmp_path)
    (record,) = tmp_path.iterdir()
    assert str(record) in capsys.readouterr().out.replace("\n", "")
