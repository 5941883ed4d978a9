"""Keeps runtimes from telling their makers what runs here, and from leaving files in the home folder for that."""

import os
import sys
from typing import cast


def turn_off() -> None:
    """Turn telemetry off, unless the user has said otherwise; to be called before a runtime is imported."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # OpenVINO reports every import, but runs as well where the package that reports is not installed.
    cast(dict[str, object], sys.modules).setdefault("openvino_telemetry", None)
