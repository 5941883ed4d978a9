"""Ray, as our commands find, start and join it."""

import contextlib
import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from engine.errors import HiPerError, RuntimeMissingError

_REQUIRED: Final = {"RAY_USAGE_STATS_ENABLED": "0"}
# Ray puts workers 15 below everything else, and our networks with them; whoever wants that says nice.
_NICENESS: Final = ("RAY_worker_niceness", "0")
# An attempt to join takes 40 s; Ray would make twenty in silence.
_ATTEMPTS: Final = ("RAY_NUM_REDIS_GET_RETRIES", "2")


class ClusterError(HiPerError):
    """A cluster of Ray cannot be started or joined."""

    exit_code = 28


def require_ray() -> None:
    """Find out early whether Ray is there; it takes seconds to load.

    Raises:
        RuntimeMissingError: it is not.
    """
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise RuntimeMissingError("Ray is not installed but needed for this; run: pip install 'hiper[ray]'")


@contextlib.contextmanager
def joined(address: str, *, cpus: int, store_bytes: int, **options: Any) -> Iterator[Any]:
    """Join a cluster, or start one on this machine that lives as long as this; gives the module `ray`.

    Args:
        address: of the cluster; empty starts one, which listens on loopback and which nobody joins without its token.
        cpus: that the one to start believes to have.
        store_bytes: of its object store.
        options: of `ray.init` in both cases.

    Raises:
        ClusterError: it cannot be joined or started.
    """
    os.environ.update(_REQUIRED)
    os.environ.setdefault(*_NICENESS)
    where: dict[str, Any] = {"address": address}
    if address:
        os.environ.setdefault(*_ATTEMPTS)
    else:
        os.environ["RAY_AUTH_MODE"] = "token"  # whoever can reach its ports could run what they like
        where = {"address": "local", "num_cpus": cpus, "object_store_memory": store_bytes}
        where |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    ray: Any = import_module("ray")  # not before the environment is as it should be
    try:
        ray.init(**where, **options)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        found = f"cluster {address} cannot be joined" if address else "Ray cannot start"
        reason = str(error).partition("\n")[0]
        remedy = "see --ray-address, and set RAY_AUTH_MODE and RAY_AUTH_TOKEN as the cluster has them"
        raise ClusterError(f"{found}: {reason}; {remedy}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
