"""The command on a real local Ray, killed in every way; what it says without Ray. Oracle: the table itself."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.bulk.journal import Begun
from engine.tail_file import TailFile, write_tail_file
from tests.bulk.conftest import WriteTable

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300
WORKER, ENGINE = "MapWorker", "engine.server.edit_process"


class Run:
    """A `hiper-bulk` that runs, in a session of its own, and its processes."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "engine.bulk.cli", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self.popen = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self.family: dict[int, psutil.Process] = {}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.popen.poll() is None, self.popen.communicate()
            assert time.monotonic() < end, "nothing happens"
            self.look()
            time.sleep(0.02)

    def wait_for_pictures(self, folder: Path, number: int) -> None:
        self.wait_for(lambda: len(pictures(folder)) >= number)

    def look(self) -> None:
        """Ray's processes leave their parent when it dies; they are remembered."""
        for process in psutil.Process(self.popen.pid).children(recursive=True):
            self.family.setdefault(process.pid, process)

    def kill_one(self, word: str) -> bool:
        """Kill a process whose command line has this word, if there is one."""
        self.look()
        for process in self.family.values():
            if word in name(process):
                process.kill()
                return True
        return False

    def kill(self) -> None:
        """Kill the driver, and wait until its workers and engines are gone; Ray's own processes take a minute."""
        self.look()
        ours = [process for process in self.family.values() if any(word in name(process) for word in (WORKER, ENGINE))]
        self.popen.kill()
        self.popen.communicate()
        _, left = psutil.wait_procs(ours, timeout=60)
        assert not left, left

    def end(self) -> tuple[int, str, str]:
        stdout, stderr = self.popen.communicate(timeout=PATIENCE_S)
        return self.popen.returncode, stdout.decode(), stderr.decode()


def name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "gone"


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*arguments: str | Path) -> Run:
        runs.append(Run(*arguments))
        return runs[-1]

    yield start
    for run in runs:
        if run.popen.poll() is None:
            run.kill()


def wishes(number: int, steps: int = 300) -> list[dict[str, Any]]:
    prompts = ("a dog", "a cat", "a cat a dog")
    return [
        {"id": f"r{n:03}", "prompt": prompts[n % 3], "seed": n, "num_inference_steps": steps} for n in range(number)
    ]


def pictures(folder: Path) -> dict[str, tuple[int, int]]:
    """What tells whether a picture was made again."""
    return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.png")}


def check_complete(out: Path, rows: list[dict[str, Any]]) -> None:
    """No row is lost, none is there twice, and no file that is none of them."""
    with open(out / "results.csv") as file:
        results = [*csv.DictReader(file)]
    assert [one["id"] for one in results] == [row["id"] for row in rows]
    assert {*pictures(out)} == {row["id"] for row in rows}
    assert {path.name for path in out.iterdir()} == {
        ".bulk",
        "results.csv",
        *(f"{row['id']}.png" for row in rows),
    }


def begun_since(out: Path, moment: float) -> set[str]:
    """Ids of rows that were begun after some moment."""
    texts = [path.read_bytes() for path in (out / ".bulk/journals").iterdir()]
    events = [json.loads(line) for text in texts for line in text.split(b"\n") if line]
    return {event["id"] for event in events if event["type"] == Begun.__name__ and event["at"] > moment}


def survive(start: Callable[[], Run], out: Path, total: int, rounds: int, seed: int) -> None:
    """Kill workers, engines and drivers at moments of chance; what was there is untouched, and not begun again."""
    chance = random.Random(seed)
    for _ in range(rounds):
        kept, began, run = pictures(out), time.time(), start()
        for number, word in enumerate(chance.sample([WORKER, ENGINE], 2), start=1):
            run.wait_for_pictures(out, len(kept) + number * total // (4 * rounds))
            time.sleep(chance.random() / 10)
            run.kill_one(word)
        run.wait_for_pictures(out, len(pictures(out)) + 1)
        run.kill()
        check_kept(out, kept, began)


def check_kept(out: Path, kept: dict[str, tuple[int, int]], began: float) -> None:
    """What was there before a run is untouched, and was not even begun again."""
    assert pictures(out).items() >= kept.items()
    assert not begun_since(out, began) & {*kept}


@pytest.fixture
def arguments(bundle: Path, tail: Path, tmp_path: Path) -> Callable[[Path], list[str | Path]]:
    def make(table: Path) -> list[str | Path]:
        return [
            *("edit", table, "-o", tmp_path / "out", "--tail", tail, "--bundle", bundle),
            *("--runtime", "onnxruntime", "--threads", "1", "--in-flight", "8"),
        ]

    return make


def test_kill_9_of_workers_engines_and_the_driver_costs_no_row(
    start: Callable[..., Run], arguments: Callable[[Path], list[str | Path]], write_table: WriteTable, tmp_path: Path
) -> None:
    rows, out = wishes(60), tmp_path / "out"
    command = arguments(write_table(rows))
    survive(lambda: start(*command), out, len(rows), rounds=1, seed=0)
    kept, began = pictures(out), time.time()
    code, stdout, stderr = start(*command, "--json").end()
    assert code == 0, stderr
    check_kept(out, kept, began)
    check_complete(out, rows)
    found = json.loads(stdout)
    assert (found["rows"], found["done"], found["done_now"]) == (60, 60, 60 - len(kept))
    assert (found["failed"], found["failures"]) == (0, None)
    assert found["edits_per_call"] > 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_again_and_again(
    start: Callable[..., Run],
    arguments: Callable[[Path], list[str | Path]],
    write_table: WriteTable,
    tmp_path: Path,
    seed: int,
) -> None:
    rows, out = wishes(300, steps=900), tmp_path / "out"
    command = arguments(write_table(rows))
    survive(lambda: start(*command), out, len(rows), rounds=3, seed=seed)
    assert start(*command).end()[0] == 0
    check_complete(out, rows)


@pytest.fixture
def two_machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster of two machines with one core each, which anybody may join who is on this one."""
    for name, value in {"MODE": "disabled", "TOKEN": ""}.items():
        monkeypatch.setenv(f"RAY_AUTH_{name}", value)
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    try:
        cluster.add_node(**machine)
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 3])
def test_a_worker_is_on_one_machine_of_a_cluster(
    two_machines: str,
    start: Callable[..., Run],
    bundle: Path,
    tail: Path,
    write_table: WriteTable,
    tmp_path: Path,
    workers: int | None,
) -> None:
    rows, out = wishes(20), tmp_path / "out"
    command = ["edit", write_table(rows), "-o", out, "--tail", tail, "--bundle", bundle, "--runtime", "onnxruntime"]
    command += ["--ray-address", two_machines, *(["--workers", workers] if workers else [])]
    assert start(*command).end()[0] == 0
    check_complete(out, rows)
    code, _, stderr = start(*command[:2], "-o", tmp_path / "other", *command[4:], "--threads", "2").end()
    assert code == 27 and "no machine has 2 CPUs" in stderr


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_not_waited_for_long(
    start: Callable[..., Run], arguments: Callable[[Path], list[str | Path]], write_table: WriteTable
) -> None:
    code, _, stderr = start(*arguments(write_table(wishes(1))), "--ray-address", "127.0.0.1:1").end()
    assert code == 28 and "error: cluster 127.0.0.1:1 cannot be joined: " in stderr and "see --ray-address" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_finished_and_failures_have_reasons(
    start: Callable[..., Run],
    arguments: Callable[[Path], list[str | Path]],
    write_table: WriteTable,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    rows, out = wishes(100), tmp_path / "out"
    rows[7] |= {"tail_strength": 3e38}
    run = start(*arguments(write_table(rows)))
    run.wait_for_pictures(out, 20)
    run.popen.send_signal(number)
    code, _, stderr = run.end()
    assert code == 130 and stderr.splitlines()[-1] == "error: stopped"
    assert len((out / "results.csv").read_text().splitlines()) > 20
    code, stdout, stderr = start(*arguments(write_table(rows)), "--json").end()
    assert code == 26 and "1 of 100 rows have no result" in stderr
    assert json.loads(stdout)["failed"] == 1
    [_, failure] = csv.reader((out / "failures.csv").read_text().splitlines())
    assert failure[:2] == ["r007", "infinite"] and "became infinite" in failure[2]
    del rows[7]
    assert start(*arguments(write_table(rows))).end()[:2] == (0, f"{out / 'results.csv'}\n")
    check_complete(out, rows)


def test_nothing_starts_with_a_bad_table_and_a_dry_run_leaves_no_trace(
    start: Callable[..., Run], arguments: Callable[[Path], list[str | Path]], write_table: WriteTable, tmp_path: Path
) -> None:
    code, _, stderr = start(*arguments(write_table([*wishes(2), {"id": "r000", "prompt": "a dog"}]))).end()
    assert code == 24 and "id r000 is there twice" in stderr
    code, stdout, _ = start(*arguments(write_table(wishes(3))), "--dry-run").end()
    assert (code, stdout) == (0, "3 rows, 0 done, 3 to edit\n")
    assert not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.util; importlib.util.find_spec = lambda name: None; from engine.bulk.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "fit", "t.csv", "-o", "out"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 9
    words = "Ray is not installed but needed for this; run: pip install 'hiper[ray]'"
    assert result.stderr.strip() == f"error: {words}"


def test_neither_help_nor_a_check_loads_ray_or_pytorch(bundle: Path, tail: Path, write_table: WriteTable) -> None:
    table = write_table(wishes(1))
    code = (
        "import sys\n"
        "from engine.bulk.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "print(sorted({'torch', 'ray', 'pyarrow', 'hiper'} & sys.modules.keys()))"
    )
    options = ["edit", table, "-o", table.parent / "out", "--bundle", bundle, "--tail", tail, "--dry-run"]
    for arguments in (["edit", "--help"], options):
        result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_a_tail_for_other_weights_is_warned_of_in_words(
    bundle: Path, tail_file: TailFile, write_table: WriteTable, tmp_path: Path
) -> None:
    other = replace(tail_file, info=replace(tail_file.info, model_digest="1" * 64))
    write_tail_file(tmp_path / "other.hiper.safetensors", other)
    table = write_table([row | {"tail": "other.hiper.safetensors"} for row in wishes(3)])
    command = [sys.executable, "-m", "engine.bulk.cli", "edit", table, "-o", tmp_path, "--bundle", bundle, "--dry-run"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "3 rows, 0 done, 3 to edit\n"
    [line] = result.stderr.splitlines()
    assert line.startswith("warning: tail was fitted with toy but toy has other weights")
