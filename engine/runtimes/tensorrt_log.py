"""TensorRT's messages: to Python's logging, and the last error into our exceptions."""

import logging
from typing import Any

import tensorrt

_LEVELS = {"VERBOSE": logging.DEBUG, "INFO": logging.DEBUG, "WARNING": logging.INFO}
_logger = logging.getLogger(__name__)


class TensorRTLog(tensorrt.ILogger):  # type: ignore[misc]
    """What TensorRT calls to speak.

    Attributes:
        last_error: the newest message of that severity, or that there was none.
    """

    def __init__(self) -> None:
        tensorrt.ILogger.__init__(self)
        self.last_error = "it gave no reason"

    def log(self, severity: Any, msg: str) -> None:
        """Take one message."""
        level = _LEVELS.get(severity.name, logging.ERROR)
        if level == logging.ERROR:
            self.last_error = msg
        _logger.log(level, msg)
