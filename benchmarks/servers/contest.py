"""A server in the comparison: it is asked, and every picture that it gives is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.edit import LEAST_PSNR_DB
from benchmarks.servers.client import Answer, play
from benchmarks.servers.process import Served, Setup
from hiper.psnr import psnr_db

Pictures = list[NDArray[np.uint8]]


class Contestant:
    """Keeps how far its worst picture was from what it should be.

    Args:
        served: its process.
        exact: whether it computes in the model's own precision.
        bodies: the wishes.
        reference: the pictures of the first contestant; None for that one itself.

    Attributes:
        worst_db: PSNR of the worst picture so far.
        pictures: of the first time that all wishes were played, which also warmed it up.

    Raises:
        RuntimeError: a wish was not met, or with another picture.
    """

    def __init__(self, served: Served, exact: bool, bodies: Sequence[bytes], reference: Pictures | None = None) -> None:
        self.served, self.worst_db = served, 100.0
        self._bodies, self._least_db = bodies, LEAST_PSNR_DB["exact" if exact else "fast"]
        answers = play(served.address, bodies, [0.0] * len(bodies))
        self.pictures = [answer.picture() for answer in answers]
        self._reference = reference or self.pictures
        self._look_at(answers)
        if complaint := self.complaint():
            raise RuntimeError(complaint)

    def play(self, arrivals_s: Sequence[float]) -> list[Answer]:
        """Ask for the wishes in turns, at these times."""
        answers = play(self.served.address, self._bodies, arrivals_s)
        self._look_at(answers)
        return answers

    def complaint(self) -> str:
        """Why it does not do the same work as the others; empty if it does."""
        if self.worst_db >= self._least_db:
            return ""
        return (
            f"a picture is {self.worst_db:.1f} dB from that of the first server but must be at least "
            f"{self._least_db:.0f}; it does not do the same work"
        )

    def _look_at(self, answers: Sequence[Answer]) -> None:
        for index, answer in enumerate(answers):
            if answer.status == 200:
                wanted = self._reference[index % len(self._reference)]
                self.worst_db = min(self.worst_db, psnr_db(answer.picture(), wanted))


def is_exact(name: str, setup: Setup) -> bool:
    """Whether a server computes in the model's own precision."""
    return setup.precision_of(name) in ("fp32", "exact")
