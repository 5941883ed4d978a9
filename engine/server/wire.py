"""Messages over a stream socket: four bytes of length, little-endian, then msgpack."""

import asyncio
import socket
import struct
from functools import cache
from types import UnionType
from typing import Final

import msgspec

from engine.server.messages import Message

MAX_FRAME_BYTES: Final = 64 * 2**20  # an uploaded picture of 16 million pixels as PNG, and room to spare
READ_AHEAD_BYTES: Final = 2**20

_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()

Kind = type[Message] | UnionType


class WireError(Exception):
    """What came, or was to be sent, is no message; the connection is of no more use if it came."""


def encode(message: Message) -> bytearray:
    """Make a frame.

    Raises:
        WireError: it is too large, or holds a number or a text that msgpack has no bytes for.
    """
    frame = bytearray(_LENGTH.size)
    try:
        _ENCODER.encode_into(message, frame, _LENGTH.size)
    except (OverflowError, UnicodeEncodeError) as error:
        raise WireError(f"{type(message).__name__} cannot be sent: {error}") from error
    _LENGTH.pack_into(frame, 0, _check_size(len(frame) - _LENGTH.size))
    return frame


def send(connection: socket.socket, message: Message) -> None:
    """Send a message; not for two threads at once.

    Raises:
        WireError: see `encode`.
        OSError: nobody is there to read it.
    """
    connection.sendall(encode(message))


def receive(connection: socket.socket, kind: Kind) -> Message | None:
    """Wait for a message.

    Args:
        connection: a blocking socket.
        kind: what it may be, a class or a union of classes.

    Returns:
        None at the end of the stream, or if the other side died.

    Raises:
        WireError: what came is no such message, or ends in its middle.
    """
    try:
        header = _read(connection, _LENGTH.size)
        return _decode(_read(connection, _size(header)), kind) if header else None
    except ConnectionError:
        return None


async def receive_async(reader: asyncio.StreamReader, kind: Kind) -> Message | None:
    """Wait for a message, see `receive`."""
    try:
        header = await reader.readexactly(_LENGTH.size)
        return _decode(await reader.readexactly(_size(header)), kind)
    except asyncio.IncompleteReadError as error:
        if error.partial or error.expected != _LENGTH.size:
            raise _torn() from error
        return None
    except ConnectionError:
        return None


def _read(connection: socket.socket, size: int) -> bytearray:
    """So many bytes, or none at the end of the stream."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = connection.recv_into(view[filled:])
        if not count and not filled:
            return bytearray()
        if not count:
            raise _torn()
        filled += count
    return data


def _size(header: bytes | bytearray) -> int:
    [size] = _LENGTH.unpack(header)
    return _check_size(size)


def _check_size(size: int) -> int:
    if not 0 < size <= MAX_FRAME_BYTES:
        raise WireError(f"a message is {size} bytes long; it may be 1 to {MAX_FRAME_BYTES}")
    return size


def _decode(data: bytes | bytearray, kind: Kind) -> Message:
    if not data:
        raise _torn()
    try:
        message: Message = _decoder(kind).decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"a message of {len(data)} bytes is none of {kind}: {error}") from error
    return message


@cache
def _decoder(kind: Kind) -> msgspec.msgpack.Decoder[Message]:
    return msgspec.msgpack.Decoder(kind)


def _torn() -> WireError:
    return WireError("the stream ends in the middle of a message")
