"""Log lines on stderr, each with the id of the request it is about; no prompt and no picture is ever in one."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

request_id: ContextVar[str] = ContextVar("request_id", default="-")

_PLAIN = "{asctime} {levelname:<7} {request_id} {name}: {message}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line; one about a request names the owner of the key it came with."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, a traceback in its own member."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
        }
        if owner := getattr(record, "owner", None):
            line["owner"] = owner
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class PlainFormatter(logging.Formatter):
    """One line for people."""

    def __init__(self) -> None:
        super().__init__(_PLAIN, style="{")

    def format(self, record: logging.LogRecord) -> str:
        """The record with the request's id."""
        record.request_id = request_id.get()
        return super().format(record)


def set_up_logging(form: Literal["plain", "json"]) -> None:
    """Send all of this process's log to stderr; uvicorn's remarks about itself are left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
