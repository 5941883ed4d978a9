"""`/v1/requests`: how far the edits of a request are, and their end."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from engine.server.auth import Caller, needs
from engine.server.edit_record import EditRecord, Status
from engine.server.errors import ApiError
from engine.server.routes.shared import PROBLEMS
from engine.server.services import ServicesDep

router = APIRouter(prefix="/v1/requests", tags=["requests"], responses=PROBLEMS)

CallerDep = Annotated[Caller, Depends(needs("edit"))]
RequestId = Annotated[str, Path(max_length=64, description="What X-Request-Id said, to the server or to the client.")]


class EditProgress(BaseModel):
    """One picture on its way."""

    seed: int
    status: Status
    step: int
    steps: int = Field(description="0 until the engine has accepted the edit.")


class RequestError(BaseModel):
    """Why there are no pictures."""

    code: str
    message: str


class RequestProgress(BaseModel):
    """A request for pictures, under way or finished within the last hour; the pictures are in its answer only."""

    id: str
    object: Literal["request"] = "request"
    status: Status
    step: int = Field(description="Steps taken, of all pictures together.")
    steps: int
    edits: list[EditProgress]
    created_at: float = Field(description="Seconds since the epoch.")
    finished_at: float | None
    error: RequestError | None


@router.get("/{request_id}", summary="See how far a request for pictures is")
async def get_request(request_id: RequestId, caller: CallerDep, services: ServicesDep) -> RequestProgress:
    """A client that wants to watch its request sends an `X-Request-Id` of its own with it."""
    return _describe(services.requests.get(caller.owner, request_id), request_id)


@router.post("/{request_id}/cancel", summary="End a request for pictures")
async def cancel_request(request_id: RequestId, caller: CallerDep, services: ServicesDep) -> RequestProgress:
    """The request itself is answered with 409 `edit_cancelled`; one that is finished stays as it is."""
    return _describe(await services.requests.cancel(caller.owner, request_id), request_id)


def _describe(record: EditRecord | None, id: str) -> RequestProgress:
    if record is None:
        raise ApiError(404, "request_not_found", f"there is no request {id}; only those of the last hour are known")
    return RequestProgress(
        id=record.id,
        status=record.status,
        step=sum(edit.step for edit in record.edits),
        steps=sum(edit.steps for edit in record.edits),
        edits=[
            EditProgress(seed=edit.seed, status=edit.status, step=edit.step, steps=edit.steps) for edit in record.edits
        ],
        created_at=record.created_at,
        finished_at=record.finished_at,
        error=record.failure and RequestError(code=record.failure.code, message=record.failure.message),
    )
