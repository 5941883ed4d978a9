"""Oracle: msgpack's own bytes. Whatever comes ends in a message, an end or a WireError, at once."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.server.messages import CancelEdit, EditDone, Message, Pixels, StartEdit, ToEngine, UnetCall
from engine.server.wire import MAX_FRAME_BYTES, WireError, encode, receive, receive_async, send

EDIT = StartEdit(id="a", user="me", timeout_s=3, target_prompt="a dög", tail=b"\0\xff", seed=2**64 - 1, previews=3)


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def received(data: bytes) -> Message | None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return receive(ours, ToEngine)


def received_async(data: bytes) -> Message | None:
    async def talk() -> Message | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await asyncio.wait_for(receive_async(reader, ToEngine), 10)

    return asyncio.run(talk())


both = pytest.mark.parametrize("read", [received, received_async])


@both
def test_a_frame_is_a_length_and_msgpack(read: Callable[[bytes], Any]) -> None:
    body = msgspec.msgpack.encode({"type": "CancelEdit", "id": "a"})
    assert bytes(encode(CancelEdit(id="a"))) == frame(body)
    assert read(frame(body)) == CancelEdit(id="a")
    assert read(bytes(encode(EDIT))) == EDIT
    assert read(b"") is None


def test_pictures_pass_both_ways_and_both_kinds_of_reader() -> None:
    done = EditDone(
        id="a", image=Pixels(512, 512, bytes(3 * 512**2)), text_ms=1, unet_ms=[1.5] * 50, decode_ms=2, total_ms=3
    )

    async def talk(theirs: socket.socket) -> Message | None:
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        message = await receive_async(reader, EditDone)
        assert message is not None
        writer.write(encode(message))
        await writer.drain()
        writer.close()
        return message

    ours, theirs = socket.socketpair()
    with ours:
        other = threading.Thread(target=asyncio.run, args=(talk(theirs),))
        other.start()
        send(ours, done)
        assert receive(ours, EditDone) == done and receive(ours, EditDone) is None
        other.join()


@both
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\1", "ends in the middle"),
        (b"\1\0\0\0", "ends in the middle"),
        (bytes(encode(EDIT))[:-1], "ends in the middle"),
        (struct.pack("<I", MAX_FRAME_BYTES + 1), f"{MAX_FRAME_BYTES + 1} bytes long; it may be 1 to {MAX_FRAME_BYTES}"),
        (struct.pack("<I", 0), "0 bytes long"),
        (frame(b"\x80\x04\x95pickle"), "a message of 9 bytes is none of"),
        (
            bytes(encode(UnetCall(rows=1, edits=1, distinct_tails=1, bucket=1, latency_ms=1))),
            "Invalid value 'UnetCall'",
        ),
        (frame(b"\x82\xa4type\xaaCancelEdit\xa2id\xa1\xff"), "is none of"),
        (frame(b"\x82\xa4type\xaaCancelEdit\xa1x" + b"\x91" * 100_000), "is none of"),
    ],
)
def test_what_is_no_message_is_refused(read: Callable[[bytes], Any], data: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(data)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": 2**64}, "StartEdit cannot be sent"),
        ({"target_prompt": "\ud800"}, "StartEdit cannot be sent"),
        ({"tail": bytes(MAX_FRAME_BYTES)}, "bytes long; it may be"),
    ],
)
def test_what_cannot_be_sent_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        encode(msgspec.structs.replace(EDIT, **change))


def test_a_side_that_died_with_bytes_unread_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b"never read")
        theirs.close()
        assert receive(ours, ToEngine) is None

    async def talk() -> Message | None:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        writer.write(b"never read")
        theirs.close()
        message = await receive_async(reader, ToEngine)
        writer.close()
        return message

    ours, theirs = socket.socketpair()
    assert asyncio.run(talk()) is None


def read_or_refuse(data: bytes) -> None:
    assert outcome(received, data) == outcome(received_async, data)


def outcome(read: Callable[[bytes], Any], data: bytes) -> str:
    try:
        return repr(read(data))
    except WireError as error:
        return str(error)


@given(data=st.binary(max_size=100))
@example(data=b"\xff\xff\xff\xff")
def test_random_bytes(data: bytes) -> None:
    read_or_refuse(data)


@given(body=st.binary(min_size=1, max_size=100))
def test_random_bodies(body: bytes) -> None:
    read_or_refuse(frame(body))


@given(edits=st.lists(st.tuples(st.integers(4, len(encode(EDIT)) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutated_messages(edits: list[tuple[int, int]]) -> None:
    data = encode(EDIT)
    for position, value in edits:
        data[position] = value
    read_or_refuse(bytes(data))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(name=st.sampled_from(StartEdit.__struct_fields__), value=values)
def test_wild_fields(name: str, value: object) -> None:
    wild = {**msgspec.structs.asdict(EDIT), "type": "StartEdit", name: value}
    read_or_refuse(frame(msgspec.msgpack.encode(wild)))
