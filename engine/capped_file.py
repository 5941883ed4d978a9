"""Reads a file that somebody else made: an ordinary one, and no more of it than expected."""

from pathlib import Path


def read_capped(path: str | Path, max_size_bytes: int) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: it is missing, not readable, no ordinary file (a device may never end), or larger than the limit;
            the message is the second half of a sentence.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("it is a folder or device" if path.exists() else "no such file")
        with open(path, "rb") as file:
            data = file.read(max_size_bytes + 1)
    except OSError as error:
        raise ValueError(error.strerror) from error
    if len(data) > max_size_bytes:
        raise ValueError(f"it is larger than {max_size_bytes} bytes")
    return data
