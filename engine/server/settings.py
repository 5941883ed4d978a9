"""What can be set: by options of the command, else by environment variables HIPER_..., else by a TOML file."""

import os
import tomllib
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

Runtime = Literal["auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino", "tensorrt"]


_PREFIX: Final = "HIPER_"
# Variables of the command, the build and the tests.
_OTHERS: Final = {
    f"{_PREFIX}{name}" for name in ("API_EXAMPLES", "CONFIG", "CUDA", "NATIVE", "SANITIZE", "SOAK_MINUTES")
}


class SettingsError(ValueError):
    """A setting is unknown or has an impossible value."""


def _growing(buckets: tuple[int, ...]) -> tuple[int, ...]:
    if not buckets or buckets[0] < 1 or any(one >= other for one, other in pairwise(buckets)):
        raise ValueError("must be growing numbers from 1, like 1 2 4 8")
    return buckets


def _words(value: object) -> object:
    """An environment variable lists its items with commas or spaces."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _range(text: str) -> str:
    fewest, _, most = text.partition(":")
    if int(most or fewest) < int(fewest):
        raise ValueError("must be a number or two growing ones, like 2 or 1:4")
    return text


Buckets = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_words), AfterValidator(_growing)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Range = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(:[1-9][0-9]{0,3})?$"), AfterValidator(_range)]


class Settings(BaseSettings):
    """All settings of `hiper-serve`.

    Attributes:
        host: address to listen at; beyond loopback, callers need keys.
        port: for HTTP; 0 takes a free one.
        metrics_host: address of the metrics, which need no key.
        metrics_port: for Prometheus; 0 for none.
        data_dir: for tails, fits, pictures and keys; one server at a time.
        store_url: postgresql://..., which several servers can share, instead of tables in data_dir; with images_url.
        images_url: s3://bucket/prefix (gs://, az://) for pictures, instead of files in data_dir; with store_url.
        bundle: what `hiper-export` made; None exports `model` at the first start.
        model: that fits use, and whose bundle this is.
        runtime: that runs the bundle.
        precision: "fast" permits bfloat16 inside an fp32 bundle.
        threads: of the edit engine; None for one a core.
        device: index of the GPU that edits run on.
        buckets: the numbers of rows that the UNet is called with.
        max_edits: that may be under way at once.
        edit_timeout_s: until a picture must be there.
        max_connections: open at once; each is an open file.
        max_body_bytes: of a request.
        max_pixels: of an uploaded picture.
        max_images_per_request: pictures that one request may ask for.
        max_steps: that an edit may ask for.
        max_queued_fits: that wait, of all owners together.
        max_fits_per_owner: under way or waiting, where there are no keys.
        max_tails: that one owner may keep, fits without one included.
        max_bytes_per_owner: of the tails and pictures that one owner may keep.
        lease_s: without a sign of life from its worker, after which a fit is given to another.
        checkpoint_every: fit steps between checkpoints.
        drain_s: that edits under way get after SIGTERM.
        disk_floor_bytes: free space below which nothing new is stored.
        allowed_hosts: further names that this server is reached by, as behind a proxy.
        fits: whether pictures can be fitted; needs PyTorch.
        fit_device: that PyTorch fits on, as "cpu" or "cuda:1".
        fit_dtype: of the frozen UNet in fits.
        fit_nice: how far fits stand back behind edits on the CPU, 0 to 19.
        ray: whether edits run on a cluster of Ray.
        ray_address: of the cluster, or "auto"; empty starts one on this machine.
        replicas: of the edit engine on Ray; two numbers for as many as the load wants.
        fronts: on Ray; several need a shared store.
        log_format: of the lines on stderr.
        access_log: a line for every request.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8910
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9910
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Path("~/.local/share/hiper-serve").expanduser()
    # Secrets, since passwords may be in them: shown nowhere, and checked where they are used.
    store_url: SecretStr = SecretStr("")
    images_url: SecretStr = SecretStr("")
    bundle: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    model: str = "menagerie"
    runtime: Runtime = "auto"
    precision: Literal["exact", "fast"] = "fast"
    threads: Annotated[int, Field(ge=1)] | None = None
    device: Annotated[int, Field(ge=0)] = 0
    buckets: Buckets = (1, 2, 4, 8, 16, 32)
    max_edits: Annotated[int, Field(ge=1)] = 64
    edit_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    max_connections: Annotated[int, Field(ge=1)] = 500
    max_body_bytes: Annotated[ByteSize, Field(ge=2**16)] = ByteSize(20 * 2**20)
    # Pixels of three bytes go between processes in one message of at most 64 MiB.
    max_pixels: Annotated[int, Field(ge=1, le=22_000_000)] = 16_000_000
    max_images_per_request: Annotated[int, Field(ge=1)] = 8
    max_steps: Annotated[int, Field(ge=1, le=1000)] = 100
    max_queued_fits: Annotated[int, Field(ge=1)] = 100
    max_fits_per_owner: Annotated[int, Field(ge=1)] = 100
    max_tails: Annotated[int, Field(ge=1)] = 10_000
    max_bytes_per_owner: Annotated[ByteSize, Field(ge=1)] = ByteSize(4 * 2**30)
    lease_s: Annotated[float, Field(gt=0)] = 30.0
    checkpoint_every: Annotated[int, Field(ge=1)] = 50
    drain_s: Annotated[float, Field(ge=0)] = 60.0
    disk_floor_bytes: Annotated[ByteSize, Field(ge=0)] = ByteSize(2 * 2**30)
    allowed_hosts: Names = ()
    fits: bool = True
    fit_device: str = "auto"
    fit_dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    fit_nice: Annotated[int, Field(ge=0, le=19)] = 19
    ray: bool = False
    ray_address: str = ""
    replicas: Range = "1"
    fronts: Annotated[int, Field(ge=1)] = 1
    log_format: Literal["plain", "json"] = "plain"
    access_log: bool = False

    @property
    def most_replicas(self) -> int:
        """Edit engines that there may be at once, on Ray."""
        return int(self.replicas.rpartition(":")[2])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given outright, then the environment, then the file; no other place is looked at."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def misspelt_variables() -> list[str]:
    """A sentence about each environment variable HIPER_... that nothing reads."""
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.model_fields]
    unknown = [name for name in sorted(os.environ) if name.upper().startswith(_PREFIX)]
    return [
        f"{name} is no setting, and is not looked at{_like(name, known)}; see hiper-serve --help"
        for name in unknown
        if name.upper() not in {*known, *_OTHERS}
    ]


def _like(name: str, known: list[str]) -> str:
    return "".join(f", {other} would be" for other in get_close_matches(name.upper(), known, 1, 0.85))


def load_settings(file: Path | None = None, **given: Any) -> Settings:
    """Put the settings together.

    Args:
        file: TOML, with names as in `Settings`.
        given: what comes before environment and file; None counts as not given.

    Raises:
        SettingsError: a name is unknown, a value impossible, or the file unreadable.
    """
    try:
        kind = Settings if file is None else _reading(file)
        return kind(**{name: value for name, value in given.items() if value is not None})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no TOML: {error}; write lines like port = 8910") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(map(str, wrong["loc"])) or "file"
        raise SettingsError(
            f"setting {name} is {wrong['input']!r:.80}: {wrong['msg']}; see hiper-serve --help"
        ) from error


def _reading(file: Path) -> type[Settings]:
    """The settings with a file behind them; pydantic ties the file to the class."""
    if not file.is_file():
        raise SettingsError(f"{file} is no file but was named as configuration; write one, or leave --config out")

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    return FileSettings
