"""Where a command leaves its results: all of a set of files appear, or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from hiper.errors import OutputError


class OutputFolder:
    """A folder for results, made when it is entered and taken away again if nothing came into it.

    Raises:
        OutputError: on entering, it cannot be made or written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._made: list[Path] = []
        self._given: set[str] = set()

    def __enter__(self) -> OutputFolder:
        with self._refusals():
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # it holds something by now
            for folder in self._made:
                folder.rmdir()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A temporary folder whose files move into this one once the block ends well.

        Raises:
            OutputError: the disk refuses.
        """
        with self._refusals(), tempfile.TemporaryDirectory(dir=self.path, prefix=".unfinished-") as name:
            yield Path(name)
            for file in sorted(Path(name).iterdir()):
                os.replace(file, self.path / file.name)

    def free_name(self, stem: str, suffix: str) -> str:
        """`stem` and `suffix`, with a number between them where such a file exists or the name was given before."""
        numbers = ("", *(f"-{number}" for number in range(2, 10_000)))
        names = (f"{stem}{number}{suffix}" for number in numbers)
        name = next(name for name in names if name not in self._given and not (self.path / name).exists())
        self._given.add(name)
        return name

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"cannot write to {self.path}: {reason}; name a folder with room, -o FOLDER") from error
