"""Steps of a line of Python each, in a folder that is thrown away."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from benchmarks import gpu as gpu_suite
from benchmarks import ladder, suites
from benchmarks.cli import app
from benchmarks.gpu import gpu
from benchmarks.random_model import write_random_model
from benchmarks.record import ROOT
from benchmarks.suite import Step, Suite, in_folder
from benchmarks.suites import full, quick
from hiper.models import load_model

SAY = "from pathlib import Path; Path('FOLDER/{0}-20260101T000000Z.json').write_text('1'); print('{0} ran')"


def steps(*names):
    return [Step(name, ("-c", SAY.format(name))) for name in names]


def suite_record(folder):
    return json.loads(max(folder.glob("suite-*.json")).read_text())


def test_steps_run_once_and_say_what_they_wrote(tmp_path):
    lines = []
    suite = Suite("test", in_folder(steps("a", "b"), tmp_path), tmp_path, lines.append)
    assert suite.run() and suite.run() and suite.failed() == []
    assert lines[0] == "a (1 of 2)" and lines[2] == "b (2 of 2)" and len(lines) == 4
    assert (tmp_path / "logs" / "b.log").read_text() == "b ran\n"
    done = json.loads((tmp_path / "suite.json").read_text())
    assert done["a"]["records"] == ["a-20260101T000000Z.json"] and done["a"]["exit_code"] == 0


def test_a_failure_is_kept_with_its_reason_and_the_rest_goes_on(tmp_path):
    broken = Step("broken", ("-c", "import sys; print('first'); sys.exit('no such thing')"))
    missing = Step("missing", ("-c", ""), needs=("a_module_of_nobody", "benchmarks.nothing"))
    suite = Suite("test", in_folder([broken, missing, *steps("c")], tmp_path), tmp_path)
    assert suite.run() and suite.failed() == ["broken"]
    record = suite_record(tmp_path)
    assert record["errors"] == {"broken": "no such thing"} and record["results"]["c"]["exit_code"] == 0
    assert record["settings"]["left_out"] == {"missing": "a_module_of_nobody and benchmarks.nothing is not here"}


def test_a_call_ends_before_its_limit_and_the_next_goes_on(tmp_path):
    long = [replace(step, minutes=5) for step in steps("a", "b", "c")]
    lines = []
    suite = Suite("test", in_folder(long, tmp_path), tmp_path, lines.append)
    assert not suite.run(limit_minutes=4)
    assert lines[-1] == "2 steps are left; call again: b comes next"
    assert suite_record(tmp_path)["settings"]["waiting"] == ["b", "c"]
    assert not suite.run(limit_minutes=4) and suite.run(limit_minutes=4)


def test_a_step_longer_than_a_call_fails(tmp_path):
    suite = Suite("test", [Step("slow", ("-c", "import time; time.sleep(60)"))], tmp_path)
    assert suite.run(limit_minutes=0.5 / 60) and suite.failed() == ["slow"]
    assert suite_record(tmp_path)["errors"]["slow"].startswith("it did not end within the ")


# It leaves a process behind that appends to a file for as long as it lives.
PARENT = (
    "import subprocess, sys, time; from pathlib import Path; "
    'subprocess.Popen([sys.executable, \'-c\', \'import time; file = open(r"{0}", "a", buffering=1)\\n'
    'while True: file.write("x"); file.flush(); time.sleep(0.02)\'])\n'
    "while not Path(r'{0}').exists() or not Path(r'{0}').stat().st_size: time.sleep(0.02)\n"
)


def lives(file):
    """Whether somebody still writes to it."""
    size = file.stat().st_size
    time.sleep(0.3)
    return file.stat().st_size > size


@pytest.mark.parametrize("end", ["time.sleep(60)", "sys.exit(3)", "pass"])
def test_what_a_step_started_ends_with_it(tmp_path, end):
    step = Step("parent", ("-c", PARENT.format(tmp_path / "alive") + end))
    Suite("test", [step], tmp_path).run(limit_minutes=3 / 60)
    assert not lives(tmp_path / "alive")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_step_and_what_it_started(tmp_path, number):
    step = ("-c", PARENT.format(tmp_path / "alive") + "time.sleep(60)")
    call = (
        # Whoever runs the tests in the background may ignore SIGINT, and so would their children.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from benchmarks import cli, suites; from benchmarks.suite import Step; "
        f"suites.quick = lambda: [Step('parent', {step!r})]; cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", call, "run", "-o", tmp_path / "out"], cwd=ROOT)
    while not (tmp_path / "alive").exists():
        time.sleep(0.02)
    assert lives(tmp_path / "alive")
    process.send_signal(number)
    assert process.wait(30) != 0 and not lives(tmp_path / "alive")


def test_what_failed_is_tried_again_after_what_was_never_tried(tmp_path):
    bad = Step("bad", ("-c", "import sys; from pathlib import Path; sys.exit(not Path('FOLDER/mended').exists())"))
    lines = []
    suite = Suite("test", in_folder([replace(bad, minutes=5), *steps("b")], tmp_path), tmp_path, lines.append)
    suite.steps[1] = replace(suite.steps[1], minutes=5)
    assert not suite.run(limit_minutes=4) and suite.failed() == ["bad"]
    assert suite.run(limit_minutes=4) and suite.failed() == ["bad"]
    assert [line for line in lines if " of " in line] == ["bad (1 of 2)", "b (1 of 2)"]
    (tmp_path / "mended").touch()
    assert suite.run() and suite.failed() == [] and suite_record(tmp_path)["errors"] == {}


def test_only_some_steps_of_a_folder_run_and_again_where_named(tmp_path):
    lines = []
    assert Suite("test", in_folder(steps("a", "b"), tmp_path), tmp_path, only=["a"]).run()
    assert suite_record(tmp_path)["settings"]["waiting"] == ["b"]
    assert Suite("test", in_folder(steps("a", "b"), tmp_path), tmp_path, lines.append, only=["b", "a"]).run()
    assert lines[0] == "b (1 of 2)" and lines[2] == "a (2 of 2)"


def test_a_folder_of_other_settings_is_refused(tmp_path):
    Suite("test", in_folder(steps("a"), tmp_path), tmp_path).run()
    other = Suite("test", [Step("a", ("-c", "pass"))], tmp_path)
    with pytest.raises(ValueError, match=r"holds a of other settings; name a new folder$"):
        other.run()


def test_suites_name_every_script_once_and_only_options_that_exist():
    from importlib import import_module
    from inspect import signature

    for suite in (quick(), full(), gpu(), gpu("cpu", tiny=True)):
        names = [step.name for step in suite]
        assert len(set(names)) == len(names)
        for step in suite:
            # A step has no command where its package is missing.
            if step.command[:1] != ("-m",) or step.command[1] in ("benchmarks.random_model", "benchmarks.fidelity"):
                continue
            known = signature(import_module(step.command[1]).main).parameters
            used = {word[2:].replace("-", "_") for word in step.command[2:] if word.startswith("--")}
            assert used <= known.keys(), step.name


def test_gpu_steps_fit_into_a_call():
    assert all(step.minutes <= 8 for step in gpu())
    assert {f"fit-{model}-{rows}" for model in ("sd1", "sd2") for rows in (1, 2, 4, 8)} <= {s.name for s in gpu()}
    assert next(step for step in gpu() if step.name == "plans-sd1").needs == ("tensorrt", "cuda.bindings")
    assert [step.name for step in gpu()][:4] == ["native", "model-sd1", "fit-sd1-1", "fit-sd1-compiled"]


def test_the_gpu_suite_measures_every_rung_of_the_ladder(monkeypatch):
    monkeypatch.setattr(gpu_suite, "lacks_onnxruntime_cuda", lambda: "")
    monkeypatch.setattr(Step, "lacking", "")
    measured = {(word, step.name) for step in gpu() for word in step.command if "-sd1" in step.name}
    for rung in ladder.FIT:
        step = (
            f"fit-sd1-{rung.rows}" if rung.rows > 1 else "fit-sd1-compiled" if "compiled" in rung.case else "fit-sd1-1"
        )
        assert (rung.case, step) in measured
    for rung in ladder.EDIT:
        assert any((rung.case, step) in measured for step in ("edit-sd1", "edit-sd1-engine", "rows-sd1")), rung


def test_a_gpu_suite_without_onnxruntime_gpu_says_so_and_goes_on(monkeypatch):
    monkeypatch.setattr(gpu_suite, "lacks_onnxruntime_cuda", lambda: "no CUDA here")
    steps = {step.name: step for step in gpu()}
    assert steps["onnxruntime-cuda-sd1"].lacking == "no CUDA here" and steps["rows-sd1"].lacking == ""
    assert "onnxruntime-cuda" not in steps["rows-sd1"].command


def test_the_command_lists_runs_and_refuses(tmp_path, monkeypatch):
    run = CliRunner().invoke
    listed = run(app, ["run", "-o", str(tmp_path), "--list"])
    assert listed.exit_code == 0 and "edit " in listed.stdout and "-m benchmarks.edit" in listed.stdout
    refused = run(app, ["run", "-o", str(tmp_path), "--only", "nothing"])
    assert refused.exit_code == 2 and "there is no step 'nothing'" in refused.output
    monkeypatch.setattr(suites, "quick", lambda: [*steps("a"), replace(steps("b")[0], minutes=9)])
    for words in (["--device", "cpu"], ["--tiny"]):
        refused = run(app, ["run", "-o", str(tmp_path), *words])
        assert refused.exit_code == 2 and "--device and --tiny are for --suite gpu" in refused.output
    assert run(app, ["run", "-o", str(tmp_path), "--minutes", "5"]).exit_code == 3
    assert run(app, ["run", "-o", str(tmp_path), "--only", "a"]).exit_code == 0
    done = run(app, ["run", "-o", str(tmp_path)])
    assert done.exit_code == 0 and done.stdout.strip() == str(tmp_path)
    monkeypatch.setattr(suites, "quick", lambda: steps("other"))
    assert "other settings; name a new folder" in run(app, ["run", "-o", str(tmp_path)]).output.replace("\n", " ")


def test_a_random_model_is_a_model_and_its_tokens_are_letters(tmp_path):
    write_random_model("tiny", tmp_path / "tiny")
    write_random_model("tiny", tmp_path / "tiny")
    model = load_model(tmp_path / "tiny")
    assert (model.image_size, model.vae_factor, model.dim) == (64, 8, 64)
    assert model.encode_prompt("a dog").shape == (1, 77, 64)
