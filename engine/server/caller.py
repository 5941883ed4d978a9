"""Who asks."""

from dataclasses import dataclass

from engine.server.records import Key, Scope

LOCAL = "local"


@dataclass(frozen=True)
class Caller:
    """Who asks: the holder of a key, or whoever sits at this machine while the server has no keys.

    Attributes:
        owner: of what it stores; a key's id, or "local".
        key: with its scopes and limits; None for "local", who may do everything.
    """

    owner: str
    key: Key | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the key has a scope."""
        return self.key is None or scope in self.key.scopes
