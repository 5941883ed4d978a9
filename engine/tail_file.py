"""The one reader and writer of `NAME.hiper.safetensors`, the file a fit hands to an edit.

A file holds two fp32 tensors, `tail` and `tail_init`, both (tail_tokens, dim), and string metadata. They are two on
purpose: a lone 5x768 tensor has the shape of a textual inversion, which other programs would load as something else.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from engine.atomic_file import write_atomically
from engine.capped_file import read_capped
from engine.errors import TailError
from engine.tail_info import TailInfo

FORMAT = "hiper.tail/1"
SUFFIX = ".hiper.safetensors"
MAX_SIZE_BYTES = 4 * 2**20  # twice 75 rows of 4096 fp32 numbers are 2.4 MB

_TEXTS = {"model_id", "model_digest", "family", "prediction_type", "source_prompt"}


@dataclass(frozen=True, eq=False)
class TailFile:
    """The content of a tail file.

    Attributes:
        tail: the learned rows as fitted, never pre-multiplied, (tail_tokens, dim) fp32.
        tail_init: the rows the fit started from, same shape.
        info: provenance.
    """

    tail: NDArray[np.float32]
    tail_init: NDArray[np.float32]
    info: TailInfo

    @property
    def digest(self) -> str:
        """SHA-256 over the learned rows, 64 hex digits."""
        return tail_digest(self.tail)


def read_tail_file(path: str | Path) -> TailFile:
    """Read and check a tail file; never unpickles and never reads more than MAX_SIZE_BYTES.

    Raises:
        TailError: there is no such file, or it is not exactly what `write_tail_file` writes.
    """
    try:
        data = read_capped(path, MAX_SIZE_BYTES)
    except ValueError as error:
        raise TailError(f"{path} is not a tail file: {error}; make one with hiper-fit") from error
    return parse_tail_file(data, str(path))


def parse_tail_file(data: bytes, name: str = "tail") -> TailFile:
    """Check the content of a tail file.

    Args:
        data: whatever somebody sent.
        name: what an error calls it.

    Raises:
        TailError: it is not exactly what `serialize_tail_file` returns.
    """
    try:
        if len(data) > MAX_SIZE_BYTES:
            raise ValueError(f"it is larger than {MAX_SIZE_BYTES} bytes")
        return _parse(data)
    except (ValueError, SafetensorError) as error:
        raise TailError(f"{name} is not a tail file: {error}; make one with hiper-fit") from error


def serialize_tail_file(file: TailFile) -> bytes:
    """The content of a tail file; the same tail gives the same bytes.

    Raises:
        TailError: the tensors are no tail.
    """
    try:
        _check_tensors(file.tail, file.tail_init)
    except ValueError as error:
        raise TailError(f"this is no tail: {error}; fit it again") from error
    # safetensors writes the memory of an array as it lies, whatever its strides say.
    tensors = {"tail": np.ascontiguousarray(file.tail), "tail_init": np.ascontiguousarray(file.tail_init)}
    return _in_order(save(tensors, metadata=_metadata(file)))


def write_tail_file(path: str | Path, file: TailFile) -> None:
    """Write a tail file; the file at `path` is the old one or the new one, whatever happens in between.

    Raises:
        TailError: the name does not end in SUFFIX, or the tensors are no tail.
        OutputError: the disk refuses.
    """
    if not str(path).endswith(SUFFIX):
        raise TailError(f"{path} is no name for a tail file; let it end in {SUFFIX}")
    write_atomically(path, serialize_tail_file(file))


def tail_digest(tail: NDArray[np.float32]) -> str:
    """SHA-256 over the learned rows: names a tail whatever its file is called."""
    return hashlib.sha256(np.ascontiguousarray(tail, "<f4").tobytes()).hexdigest()


def _parse(data: bytes) -> TailFile:
    tensors = dict(deserialize(data))
    if tensors.keys() != {"tail", "tail_init"}:
        raise ValueError(f"it holds {_names(tensors)} instead of tail and tail_init")
    tail, tail_init = _array(tensors["tail"]), _array(tensors["tail_init"])
    _check_tensors(tail, tail_init)
    return TailFile(tail, tail_init, _info(_header_metadata(data), tail.shape))


def _array(tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    if tensor["dtype"] != "F32":
        raise ValueError(f"a tensor is {tensor['dtype']} instead of F32")
    return np.frombuffer(tensor["data"], "<f4").reshape(tensor["shape"]).astype(np.float32)


def _check_tensors(tail: NDArray[Any], tail_init: NDArray[Any]) -> None:
    for array in (tail, tail_init):
        if array.dtype != np.float32 or array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"a tensor is {array.shape} {array.dtype} instead of (tail_tokens, dim) float32")
        if not np.isfinite(array).all():
            raise ValueError("a tensor has values that are not finite")
    if tail.shape != tail_init.shape:
        raise ValueError(f"tail is {tail.shape} but tail_init is {tail_init.shape}")


def _header_metadata(data: bytes) -> dict[str, str]:
    """The string metadata, which `deserialize` has checked but does not return."""
    return dict(_split(data)[0].get("__metadata__") or {})


def _in_order(data: bytes) -> bytes:
    """Sort the names in the header, which safetensors orders anew in every process."""
    header, tensors = _split(data)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin at a multiple of their size
    return len(text).to_bytes(8, "little") + text + tensors


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _metadata(file: TailFile) -> dict[str, str]:
    tail_tokens, dim = file.tail.shape
    values = {"format": FORMAT, "tail_tokens": tail_tokens, "dim": dim, **asdict(file.info)}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _info(metadata: dict[str, str], shape: tuple[int, ...]) -> TailInfo:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r:.40} instead of {FORMAT!r}")
    wanted = {field.name for field in fields(TailInfo)} | {"format", "tail_tokens", "dim"}
    if metadata.keys() != wanted:
        raise ValueError(f"its metadata is wrong about {_names(metadata.keys() ^ wanted)}")
    values: dict[str, Any] = {name: _value(name, text) for name, text in metadata.items() if name != "format"}
    if (values.pop("tail_tokens"), values.pop("dim")) != shape:
        raise ValueError("its metadata gives another shape than its tensors")
    return TailInfo(**values)


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON") from error


def _names(names: Any) -> str:
    return ", ".join(sorted(names))[:200] or "nothing"
