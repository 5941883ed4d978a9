"""A real signal to a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import signal
from export.termination import ending_cleanly
try:
    with ending_cleanly():
        print("ready", flush=True)
        signal.pause()
except KeyboardInterrupt as stop:
    print(stop, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


def test_a_polite_kill_unwinds_like_ctrl_c() -> None:
    process = subprocess.Popen([sys.executable, "-c", CODE], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "terminated True\n"
