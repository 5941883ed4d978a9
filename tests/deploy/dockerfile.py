"""Reads a Dockerfile: its stages, and what each inherits."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"


@dataclass
class Stage:
    """What a stage says, after what the stages before it say."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [text for found, text in self.instructions if found == name]

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for text in self.all("ENV") for word in shlex.split(text))

    def words(self, name: str) -> list[str]:
        """Of an instruction in its exec form, options left out."""
        text = self.last(name)
        found: list[str] = json.loads(text[text.index("[") :])
        return found


def read_stages(path: Path = DOCKER / "Dockerfile") -> dict[str, Stage]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    stage = Stage("")
    for line in filter(None, map(str.strip, text.splitlines())):
        name, rest = line.split(None, 1)
        if name == "ARG":
            arguments.update([rest.split("=", 1)])
        elif name == "FROM":
            base, _, alias = rest.split()
            base = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base)
            parent = stages.get(base)
            stage = Stage(parent.base if parent else base, [*parent.instructions] if parent else [])
            stages[alias] = stage
        else:
            stage.instructions.append((name, rest))
    return stages


def comment_of(path: Path) -> str:
    """The words at the head of a file, with continued lines joined."""
    head = path.read_text().split("\n\n", 1)[0]
    return re.sub(r"\s*\\\n#\s*", " ", head)
