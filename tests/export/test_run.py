"""What `hiper-export` does when it is told to stop."""

import os
import signal

import pytest

from export.run import ending_cleanly


def test_a_polite_kill_unwinds_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="terminated; nothing was written"), ending_cleanly():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before
