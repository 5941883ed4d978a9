"""Whether this server should get new work."""

import asyncio
from collections.abc import Mapping
from typing import Final

from engine.errors import HiPerError
from engine.server.disk import require_free
from engine.server.services import Services

# What strangers are told: the causes name folders of this machine, and are for its operator.
_PLAIN: Final = {
    "draining": "the server ends",
    "engine": "the edit engine does not run",
    "warm_up": "the edit engine has not painted its warm-up picture as it should",
    "disk": "there is too little free space",
}


def without_causes(failures: Mapping[str, str]) -> dict[str, str]:
    """Which checks failed, in words that tell nothing of the machine."""
    return {check: _PLAIN[check] for check in failures}


async def failed_checks(services: Services) -> dict[str, str]:
    """What speaks against it, by check: "draining", "engine", "warm_up", "disk".

    An engine is there only after the digests of its bundle were compared with the manifest, which happens at every
    start.
    """
    failures = {}
    if services.draining:
        failures["draining"] = "the server ends"
    if services.edits.ready is None:
        failures["engine"] = services.edits.failure or "the edit engine is starting"
    if services.warm_up.failure is not None:
        failures["warm_up"] = services.warm_up.failure
    try:
        settings = services.settings
        await asyncio.to_thread(require_free, settings.data_dir, settings.disk_floor_bytes)
    except (HiPerError, OSError) as error:
        failures["disk"] = str(error)
    return failures
