"""What this server is and whether it is well."""

import asyncio
from typing import Annotated, Final, Literal, get_args

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from engine.schedule import Solver
from engine.server.auth import Caller, identify, needs
from engine.server.errors import ApiError
from engine.server.readiness import failed_checks, without_causes
from engine.server.routes.shared import OPENAI_PROBLEMS
from engine.server.services import Services, ServicesDep
from engine.server.store_errors import StoreError

router = APIRouter(tags=["system"])

CallerDep = Annotated[Caller, Depends(needs("edit"))]

# Tails are listed as models, and no list of OpenAI's is longer.
MAX_MODELS: Final = 1000


class Model(BaseModel):
    """What `model` of a request may say, in OpenAI's words."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """A list of models."""

    object: Literal["list"] = "list"
    data: list[Model]


class EditDefaults(BaseModel):
    """What an edit gets that leaves everything open; a tail's own strength comes before this one."""

    guidance_scale: float
    num_inference_steps: int
    tail_strength: float


class ServerLimits(BaseModel):
    """How much one request may ask for."""

    max_steps: int
    max_images_per_request: int
    max_body_bytes: int
    max_pixels: int
    edit_timeout_s: float


class Info(BaseModel):
    """What this server is.

    `runtime`, `reason` and `precision` are null while the edit engine starts.
    """

    object: Literal["info"] = "info"
    model: str
    model_digest: str
    family: str
    image_size: int
    dim: int
    defaults: EditDefaults
    limits: ServerLimits
    solvers: list[str]
    engine: bool
    runtime: str | None
    reason: str | None
    precision: str | None
    fits: bool
    no_fits: str | None
    keys: bool
    draining: bool


class Health(BaseModel):
    """The server is well."""

    status: Literal["ok"] = "ok"


class Unready(BaseModel):
    """The checks that failed, and why."""

    status: Literal["unready"] = "unready"
    failed: dict[str, str]


@router.get("/livez")
async def live() -> Health:
    """Whether the process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Unready, "description": "It should get no work; `failed` says why."}})
async def ready(services: ServicesDep, request: Request, response: Response) -> Health | Unready:
    """Whether the server should get work: engine, warm-up picture, disk, not draining; a key is told the causes."""
    failures = await failed_checks(services)
    if not failures:
        return Health()
    response.status_code, response.headers["retry-after"] = 503, "5"
    return Unready(failed=failures if await _is_known(services, request) else without_causes(failures))


async def _is_known(services: Services, request: Request) -> bool:
    """Whether somebody asks who may use the server; whoever may not gets an answer all the same."""
    try:
        return await identify(services, request.headers.get("authorization")) is not None
    except (ApiError, StoreError):
        return False


@router.get("/v1/info")
async def info(services: ServicesDep, request: Request) -> Info:
    """The model, the defaults, the limits, and what works; needs no key."""
    manifest, engine, settings = services.manifest, services.edits.ready, services.settings
    no_fits = _no_fits(services, request.state.caller)
    return Info(
        model=manifest.model_id,
        model_digest=manifest.model_digest,
        family=manifest.family,
        image_size=manifest.image_size,
        dim=manifest.dim,
        defaults=_defaults(services),
        limits=ServerLimits.model_validate(settings, from_attributes=True),
        solvers=list(get_args(Solver)),
        engine=engine is not None,
        runtime=engine.runtime if engine else None,
        reason=engine.reason if engine else None,
        precision=engine.precision if engine else None,
        fits=not no_fits,
        no_fits=no_fits or None,
        keys=await asyncio.to_thread(services.store.has_keys),
        draining=services.draining,
    )


@router.get("/v1/models", responses=OPENAI_PROBLEMS)
async def models(services: ServicesDep, caller: CallerDep) -> Models:
    """The model, and each of the caller's tails as a model of its own."""
    tails = await asyncio.to_thread(services.store.tails, caller.owner, limit=MAX_MODELS)
    return Models(data=[_base(services), *(_of_tail(tail.id, tail.created_at) for tail in tails)])


@router.get("/v1/models/{model:path}", responses=OPENAI_PROBLEMS)
async def model(model: str, services: ServicesDep, caller: CallerDep) -> Model:
    """One model."""
    if model in ("hiper", services.manifest.model_id):
        return _base(services)
    tail = await asyncio.to_thread(services.store.tail, caller.owner, model.removeprefix("hiper:"))
    if tail is None or not model.startswith("hiper:"):
        raise ApiError(404, "not_found", f"there is no model {model[:80]!r}; GET /v1/models lists those there are")
    return _of_tail(tail.id, tail.created_at)


def _no_fits(services: Services, caller: Caller | None) -> str:
    """Why nothing can be fitted; the worker's words may name folders, which is not for strangers."""
    problem = services.fits.problem if services.fits else ""
    if problem and caller is None:
        return "fits do not work at present; the server's log says why"
    return problem or ("" if services.fits else services.no_fits)


def _base(services: Services) -> Model:
    return Model(id=services.manifest.model_id, created=0, owned_by="hiper")


def _of_tail(id: str, created_at: float) -> Model:
    return Model(id=f"hiper:{id}", created=int(created_at), owned_by="you")


def _defaults(services: Services) -> EditDefaults:
    """The engine's word, and while it starts the same from the manifest."""
    if services.edits.ready is not None:
        return EditDefaults.model_validate(services.edits.ready.edit_defaults, from_attributes=True)
    model = services.manifest.edit_defaults
    return EditDefaults(
        guidance_scale=model.guidance_scale or 7.5,
        num_inference_steps=model.num_inference_steps or 50,
        tail_strength=model.tail_strength or 0.8,
    )
