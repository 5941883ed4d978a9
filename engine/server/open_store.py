"""Chooses where a server keeps its data."""

from typing import TYPE_CHECKING

from engine.server.folder_store import FolderStore
from engine.server.settings import Settings
from engine.server.sqlite_database import storage_errors
from engine.server.store import Store
from engine.server.store_errors import StoreError

if TYPE_CHECKING:
    from engine.server.shared_store import SharedStore


def open_store(settings: Settings, *, alone: bool = True) -> Store:
    """Open the store that the settings name: tables and pictures that several servers share, else the data folder.

    Args:
        settings: of the server.
        alone: False opens a data folder beside the server that runs on it; a shared store is never anybody's alone.

    Raises:
        StoreError: it cannot be opened, or the settings name half of it.
    """
    if not is_shared(settings):
        return FolderStore(settings.data_dir, alone=alone)
    with storage_errors(settings.data_dir):  # bundles stay each server's own
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _open_shared(settings)


def check_store(settings: Settings) -> list[str]:
    """What is wrong with the stored data, a sentence each; nothing is changed."""
    if not is_shared(settings):
        return FolderStore.check(settings.data_dir)
    store = _open_shared(settings)
    try:
        return store.check()
    finally:
        store.close()


def is_shared(settings: Settings) -> bool:
    """Whether the settings name a store that several servers can use at once.

    Raises:
        StoreError: only one half of it is named.
    """
    tables, pictures = (bool(url.get_secret_value()) for url in (settings.store_url, settings.images_url))
    if tables != pictures:
        missing, named = ("images_url", "store_url") if tables else ("store_url", "images_url")
        raise StoreError(f"{named} is set but {missing} is not; a shared store needs both, a data folder neither")
    return tables


def _open_shared(settings: Settings) -> "SharedStore":
    try:
        from engine.server.shared_store import SharedStore
    except ModuleNotFoundError as error:
        raise StoreError(
            f"store_url is set but {error.name} is not installed; pip install 'hiper[shared-store]'"
        ) from error
    return SharedStore(settings.store_url.get_secret_value(), settings.images_url.get_secret_value())
