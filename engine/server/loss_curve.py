"""The losses of a fit, few enough to draw."""

import math
from collections.abc import Sequence

MAX_POINTS = 500


def extend(
    curve: Sequence[tuple[int, float]], step: int, steps: int, losses: Sequence[float]
) -> list[tuple[int, float]]:
    """Add the losses up to `step`, at even distances.

    Args:
        curve: (step, loss) pairs; those of steps that `losses` repeats, after a fit was resumed, are replaced.
        step: of the last loss, from 1.
        steps: of the whole fit; decides the distance, so that there are never more than MAX_POINTS.
        losses: of consecutive steps.
    """
    first = step - len(losses) + 1
    stride = max(1, math.ceil(max(step, steps) / MAX_POINTS))
    news = [(first + index, loss) for index, loss in enumerate(losses) if math.isfinite(loss)]
    olds = [(at, loss) for at, loss in curve if at < first]
    return [(at, loss) for at, loss in olds + news if at % stride == 0][-MAX_POINTS:]
