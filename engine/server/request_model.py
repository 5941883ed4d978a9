"""What every body of a request is read as."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

MAX_FIELDS: Final = 64


class RequestModel(BaseModel):
    """A body without unknown fields; one of very many is refused before a word is said about each of them."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _count_fields(cls, body: Any) -> Any:
        if isinstance(body, dict) and len(body) > MAX_FIELDS:
            found = {"found": len(body), "most": MAX_FIELDS}
            raise PydanticCustomError("too_many_fields", "there are {found} fields, at most {most} are taken", found)
        return body
