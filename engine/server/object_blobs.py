"""Pictures in an object store: S3 and what speaks as it does, Google's, or Azure's."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

import obstore
from obstore.exceptions import BaseError, NotFoundError

from engine.server.pictures import SUFFIX, picture_name
from engine.server.store_errors import PictureMissing, StoreError

_SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")


class ObjectBlobs:
    """PNGs under one prefix; an object there is whole, and never changes.

    Args:
        url: scheme://bucket/prefix; who asks, and at which endpoint, say the usual variables, as AWS_ACCESS_KEY_ID and
            AWS_ENDPOINT_URL.
        timeout_s: for one request.

    Raises:
        StoreError: the address is none of an object store.
    """

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        scheme = url.partition("://")[0]
        if scheme not in _SCHEMES:
            raise StoreError("images_url is no address of an object store; write s3://bucket/prefix, gs://, or az://")
        self.place = f"the object store of images_url ({scheme})"
        with self._errors():
            self._store = obstore.store.from_url(
                url,
                client_options={
                    "timeout": timedelta(seconds=timeout_s),
                    "connect_timeout": timedelta(seconds=3),
                    "allow_http": _may_be_plain(),
                },
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=timeout_s)},
            )

    def put(self, sha256: str, png: bytes) -> None:
        """Store a picture."""
        with self._errors():
            obstore.put(self._store, picture_name(sha256), png, use_multipart=False)

    def has(self, sha256: str) -> bool:
        """Whether there is a picture of that name."""
        with self._errors(), contextlib.suppress(NotFoundError, FileNotFoundError):
            obstore.head(self._store, picture_name(sha256))
            return True
        return False

    def get(self, sha256: str) -> bytes:
        """Return a picture.

        Raises:
            PictureMissing: there is none of that name.
        """
        with self._errors():
            try:
                return bytes(obstore.get(self._store, picture_name(sha256)).bytes())
            except (NotFoundError, FileNotFoundError) as error:
                raise PictureMissing(f"{self.place} has no picture {sha256}; run hiper-serve check") from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove pictures; one that is not there counts as removed."""
        with self._errors():
            if keys := [picture_name(sha256) for sha256 in names]:
                obstore.delete(self._store, keys)

    def names(self) -> set[str]:
        """All pictures there are."""
        with self._errors():
            pages = obstore.list(self._store)
            return {meta["path"].rpartition("/")[2].removesuffix(SUFFIX) for page in pages for meta in page}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:  # FileNotFoundError, for one
            kind = type(error).__name__.removesuffix("Error")
            raise StoreError(f"{self.place} cannot be used: {kind}; see to it, its key, and images_url") from error


def _may_be_plain() -> bool:
    """Whether an endpoint may be http://; obstore looks at these variables only where no other option is given."""
    values = (os.environ.get(f"{cloud}_ALLOW_HTTP", "") for cloud in ("AWS", "AZURE", "GOOGLE"))
    return any(value.lower() in ("1", "true") for value in values)
