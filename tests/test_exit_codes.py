"""Every kind of error ends a command line with a code of its own, or with that of the kind it is a case of."""

import importlib
from pathlib import Path

from engine.errors import HiPerError
from hiper.cli.console import OUT_OF_MEMORY

ROOT = Path(__file__).parents[1]
# Success, HiPerError itself, typer's for wrong options; a shell's own begin at 126, and Ctrl-C's is 130.
TAKEN = {0, 1, 2, OUT_OF_MEMORY, *range(126, 256)}


def kinds(parent: type[HiPerError]) -> list[type[HiPerError]]:
    return [kind for child in parent.__subclasses__() for kind in (child, *kinds(child))]


def test_exit_codes_are_distinct() -> None:
    for package in ("engine", "hiper", "export", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "exit_code = " in path.read_text():
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    named = [kind for kind in kinds(HiPerError) if "exit_code" in vars(kind)]
    codes = {kind.__name__: kind.exit_code for kind in named if not kind.__module__.startswith("tests")}
    assert set(HiPerError.__subclasses__()) <= set(named)
    assert len(codes) >= 10
    assert sorted(codes.values()) == sorted(set(codes.values()) - TAKEN), codes
