"""How the store refuses."""

from engine.errors import HiPerError


class StoreError(HiPerError):
    """The data folder is in use, damaged, of a newer version, or its disk fails."""

    exit_code = 16


class DiskFull(StoreError):
    """There is no space left; nothing was written by halves, and what is there can be read."""

    exit_code = 17


class PictureMissing(StoreError):
    """A row refers to a picture that is not there."""


class IdempotencyMismatch(Exception):
    """An idempotency key was used before, with another request."""


class QuotaReached(Exception):
    """The owner has as many fits queued or running as permitted; `limit` says how many."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} fits are queued or running, which is all that is permitted; wait for one to end")
        self.limit = limit


class TailsFull(QuotaReached):
    """The owner has as many tails, and fits without one, as may be kept; `limit` says how many."""

    def __init__(self, limit: int) -> None:
        Exception.__init__(self, f"{limit} tails and fits are kept, which is all that is permitted; delete some")
        self.limit = limit


class BytesFull(QuotaReached):
    """The owner's tails and pictures have as many bytes as may be kept; `limit` says how many."""

    def __init__(self, limit: int) -> None:
        Exception.__init__(self, f"tails and pictures have {limit} bytes at most, and have them already; delete some")
        self.limit = limit


class QueueFull(Exception):
    """The queue of fits is full; `limit` says how many wait."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} fits are waiting, which is all that is permitted; try again later")
        self.limit = limit
