"""A process that the front owns: started, listened to, started again when it crashes."""

import asyncio
import logging
import os
import signal
import socket
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal

from engine.server.messages import Message
from engine.server.wire import READ_AHEAD_BYTES, Kind, WireError, encode, receive_async

FIRST_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 30.0
STEADY_S: Final = 60.0
REAP_S: Final = 2.0

State = Literal["starting", "up", "down", "stopped"]

logger = logging.getLogger(__name__)


class ChildDown(Exception):
    """There is no process to send to right now."""


class Child:
    """Runs a command with one end of a socket pair as `--fd N`; for one event loop.

    After a crash it is started again, at first in half a second, later in up to 30; a minute without a crash makes up
    for all earlier ones. It is in a session of its own, so that Ctrl-C reaches only the front, and it has to exit when
    its socket ends. What it writes to stdout and stderr goes to the log.

    Args:
        name: for the log.
        argv: the command.
        kind: what it sends, a class of messages or a union.
        on_message: told of every message.
        on_lost: told when the process is gone without having been told to go.

    Attributes:
        state: "starting" until the process says something, then "up"; "down" while there is none because it crashed;
            "stopped" before `start`, after `stop` and after `give_up`.
        restarts: how often it was started again.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        kind: Kind,
        on_message: Callable[[Message], object],
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        self.state: State = "stopped"
        self.restarts = 0
        self._name = name
        self._argv = argv
        self._kind = kind
        self._on_message = on_message
        self._on_lost = on_lost
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._life: asyncio.Task[None] | None = None
        self._wanted = False
        self._tried = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process, once, and keep it running; it takes messages at once."""
        assert self._life is None
        self._wanted = True
        self._life = asyncio.create_task(self._live(), name=f"hiper-child-{self._name}")
        await self._tried.wait()

    async def stop(self, grace_s: float) -> None:
        """End the process's socket, which tells it to exit, and kill it if it is still there after so many seconds."""
        self._wanted = False
        if self._life is not None:
            self._end_socket()
            if self._writer is not None:
                await asyncio.wait([self._life], timeout=grace_s)
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        self.state = "stopped"

    def give_up(self) -> None:
        """Let the process end, and do not start it again: it has said that this is no use."""
        self._wanted = False
        self._end_socket()

    def kill(self) -> None:
        """Kill a process that hangs, and those it started; it is started again."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def post(self, message: Message) -> None:
        """Send a message, and do not wait if the process is slow to read it.

        Raises:
            ChildDown: there is no process.
            WireError: it cannot be sent, see `encode`.
        """
        frame = encode(message)
        if self._writer is None or self._writer.is_closing():
            raise ChildDown(f"the {self._name} is {self.state}")
        self._writer.write(frame)

    async def send(self, message: Message) -> None:
        """Send a message, see `post`, and wait while the process is slow to read."""
        self.post(message)
        if self._writer is not None:
            try:
                await self._writer.drain()
            except ConnectionError as error:
                raise ChildDown(f"the {self._name} died") from error

    async def _live(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            started = time.monotonic()
            try:
                await self._run()
            except OSError as error:
                logger.error("%s cannot be started: %s", self._name, error)
            self._tried.set()
            if not self._wanted:
                self.state = "stopped"
                return
            self.state = "down"
            self._tell(self._on_lost)
            if time.monotonic() - started > STEADY_S:
                delay_s = FIRST_DELAY_S
            logger.warning("%s starts again in %g s", self._name, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)
            self.restarts += 1

    async def _run(self) -> None:
        """Start the process, and return when it is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD_BYTES)
            try:
                self._process = await _spawn(self._argv, theirs.fileno())
                theirs.close()
                self.state = "starting"
                self._tried.set()
                await self._follow(self._process, reader)
            finally:
                self._writer.close()
                self._writer = self._process = None

    async def _follow(self, process: Process, reader: asyncio.StreamReader) -> None:
        assert process.stdout is not None
        log = asyncio.create_task(self._log(process.stdout))
        try:
            await self._listen(reader)
            await asyncio.wait_for(process.wait(), REAP_S)
        except TimeoutError:
            logger.warning("%s closed its socket but did not exit", self._name)
        except WireError as error:
            logger.error("%s sent what is no message: %s", self._name, error)
        finally:
            self.kill()  # if it has exited, whatever it left behind
            code = await process.wait()
            await log
            logger.log(logging.WARNING if self._wanted else logging.INFO, "%s ended with %d", self._name, code)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await receive_async(reader, self._kind)) is not None:
            self.state = "up"
            self._tell(self._on_message, message)

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        """A mistake of whoever listens must not end the listening."""
        try:
            callback(*arguments)
        except Exception:
            logger.exception("nobody took what the %s said", self._name)

    async def _log(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:
                continue  # asyncio has dropped a line that was longer than its buffer
            if not line:
                return
            logger.info("%s: %s", self._name, line.decode(errors="replace").rstrip())

    def _end_socket(self) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write_eof()


async def _spawn(argv: Sequence[str], fd: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        *("--fd", str(fd)),
        pass_fds=[fd],
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
