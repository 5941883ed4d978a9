"""Pictures to look at: cases in order, none picked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.fidelity.cases import EDITS, Case, shots
from hiper.sheet import contact_sheet

COLUMNS = ("source", "text alone", "HiPer", "ground truth")
CELL = 176


def fidelity_sheet(cases: Sequence[Case], text: NDArray[np.uint8], hiper: NDArray[np.uint8]) -> Image.Image:
    """One row a case; each takes the next edit in turn.

    Args:
        cases: in order.
        text: seed 0 of every shot of the cases, in the order of `shots`, (shots, 128, 128, 3).
        hiper: likewise.
    """
    takes = shots(cases, seeds=1)
    chosen = [len(EDITS) * row + row % len(EDITS) for row in range(len(cases))]
    rows = [[takes[i].case.picture(), text[i], hiper[i], takes[i].truth()] for i in chosen]
    return contact_sheet(
        [[Image.fromarray(picture) for picture in row] for row in rows],
        columns=COLUMNS,
        captions=[[takes[i].case.prompt, *[takes[i].prompt] * 3] for i in chosen],
        cell=CELL,
    )
