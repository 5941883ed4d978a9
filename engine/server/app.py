"""The HTTP front: all routes behind the layers that every request passes."""

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware

from engine.server.access import Access
from engine.server.auth import Authenticate
from engine.server.body_limit import BodyLimit
from engine.server.head import Head
from engine.server.headers import SecurityHeaders
from engine.server.http_protocol import Crowd
from engine.server.origin import OriginGuard
from engine.server.problems import render
from engine.server.routes import fits, images, page, requests, system, tails
from engine.server.services import Services

DESCRIPTION: Final = """
Edits of every user in one running batch. `/v1/images/*` and `/v1/models` speak as OpenAI's do; all other routes answer
errors with problem details (RFC 9457), whose `code` names the kind.
"""


def create_app(services: Services) -> FastAPI:
    """The app; it neither starts nor stops the services."""
    settings = services.settings
    # What is uploaded stays in memory, which the body limit bounds: a spooled file would lie outside the data folder.
    MultiPartParser.spool_max_size = settings.max_body_bytes
    app = FastAPI(
        title="HiPer",
        version=version("hiper"),
        description=DESCRIPTION,
        docs_url=None,  # its scripts come from another host
        redoc_url=None,
        exception_handlers={HTTPException: render, RequestValidationError: render},
        middleware=[
            Middleware(Head),
            Middleware(SecurityHeaders),
            Middleware(Access, metrics=services.metrics, log=settings.access_log),
            Middleware(Crowd),
            Middleware(OriginGuard, host=settings.host, allowed_hosts=settings.allowed_hosts),
            Middleware(Authenticate),
            Middleware(BodyLimit, max_body_bytes=settings.max_body_bytes),
        ],
        telemetry={"logs": False},  # they would tell prompts
    )
    app.state.services = services
    for part in (images, requests, fits, tails, system, page):
        app.include_router(part.router)
    return app
