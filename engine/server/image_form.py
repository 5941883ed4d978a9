"""Reads the form of `POST /v1/images/edits`."""

from collections import defaultdict
from typing import Final, NamedTuple

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from engine.server.errors import ApiError
from engine.server.find_tail import Files
from engine.server.image_requests import EditOptions, from_form
from engine.server.request_model import MAX_FIELDS

_FILES: Final = ("image", "tail_file")


class ImageForm(NamedTuple):
    """What a form says and brings along."""

    options: EditOptions
    files: Files


async def read_image_form(request: Request) -> ImageForm:
    """Read a form; its parts may be named as lists, like `image[]`, since OpenAI's clients do so.

    Raises:
        ApiError: it is no form, or a part is no file where it must be one, or too many are.
        RequestValidationError: its texts are no options.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(415, "unsupported_media_type", "the body is no form; send it as multipart/form-data")
    texts: defaultdict[str, list[str]] = defaultdict(list)
    files: dict[str, bytes] = {}
    async with request.form(max_fields=MAX_FIELDS, max_files=len(_FILES) + 1) as form:
        for part, value in form.multi_items():
            name = part.removesuffix("[]")
            if isinstance(value, str) and name not in _FILES:
                texts[name].append(value)
            else:
                _check_file(name, value, files)
                files[name] = await value.read() if isinstance(value, UploadFile) else b""
    return ImageForm(_options(texts), Files(files.get("image"), files.get("tail_file")))


def _check_file(name: str, value: UploadFile | str, files: dict[str, bytes]) -> None:
    if name == "mask":
        raise _invalid(name, "mask is not supported, a tail knows no places; say in the prompt what is to change")
    if name not in _FILES:
        raise _invalid(name, f"{name:.100} was sent as a file but only {' and '.join(_FILES)} are files")
    if isinstance(value, str):
        raise _invalid(name, f"{name} was sent as a text but is a file; send the part with a filename")
    if name in files:
        raise _invalid(name, f"{name} was sent more than once; send one")


def _options(texts: dict[str, list[str]]) -> EditOptions:
    try:
        return from_form(texts)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(422, "validation_error", message, param=param)
