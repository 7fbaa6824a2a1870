"""The asking end of the control socket, for the command line: it blocks, with time-outs where one is due."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault
from supervisor.contract.rundir import socket_path
from supervisor.control.protocol import (
    CONTROL_SOCKET,
    Ended,
    Events,
    Happened,
    Reply,
    Request,
    Said,
    decode_reply,
    encode,
)
from supervisor.host import instance
from supervisor.reporting.journal import Happening

__all__ = ["ask", "follow"]

_CONNECT_S = 2.0
_STEP_S = 0.02
_FIRST_REPLY_S = 10.0
_PIECE = 64 * 1024


def ask(run_dir: Path, request: Request, on_said: Callable[[str], None]) -> Ended:
    """Have the supervisor of ``run_dir`` do something, and wait until it is done.

    The supervisor goes on with it if this is interrupted. Raises :class:`Fault` if none runs, if it does not
    answer, or if it could not do what was asked: then with the exit code that it named.
    """
    for reply in _replies(run_dir, request):
        if isinstance(reply, Said):
            on_said(reply.text)
        elif isinstance(reply, Ended):
            return _succeeded(reply)
    raise _broken_off(run_dir)


def follow(run_dir: Path, request: Events) -> Iterator[Happening]:
    """What happens, as it happens; it ends with the supervisor.

    Raises :class:`Fault` as :func:`ask` does, and where this was read too slowly.
    """
    for reply in _replies(run_dir, request):
        if isinstance(reply, Happened):
            yield reply.happening
        elif isinstance(reply, Ended):
            _succeeded(reply)
            return
    if instance.holder(run_dir) is not None:
        raise _broken_off(run_dir)


def _succeeded(outcome: Ended) -> Ended:
    if outcome.ok:
        return outcome
    fault = Fault(outcome.text, outcome.remedy)
    known = {code.value for code in Exit}
    fault.exit_code = Exit(outcome.exit_code) if outcome.exit_code in known else Exit.FAILED
    raise fault


def _replies(run_dir: Path, request: Request) -> Iterator[Reply]:
    with _connect(run_dir) as connection:
        connection.settimeout(_FIRST_REPLY_S)
        rest = b""
        try:
            connection.sendall(encode(request))
            while piece := connection.recv(_PIECE):
                # It is awake and has understood. From now on it may be busy for as long as the work takes,
                # and if it dies the connection ends.
                connection.settimeout(None)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield _understood(line)
        except TimeoutError:
            raise Fault(
                f"the supervisor does not answer on its control socket ({run_dir})",
                "see its log; `supervisor status` shows what it did last",
            ) from None
        except (BrokenPipeError, ConnectionResetError):
            return


def _understood(line: bytes) -> Reply:
    try:
        return decode_reply(line)
    except ValueError as error:
        raise Fault(
            "the supervisor's answer is not understood: it is of another version",
            "use the command of the same installation as the running supervisor",
        ) from error


def _connect(run_dir: Path) -> socket.socket:
    path = socket_path(run_dir, CONTROL_SOCKET)
    deadline = time.monotonic() + _CONNECT_S
    while True:
        pid = instance.holder(run_dir)
        if pid is None:
            raise Fault(f"no supervisor is running here ({run_dir})", "start one with `supervisor start`")
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_CONNECT_S)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            # It has only just begun, is about to end, or its queue of clients is full.
            if time.monotonic() > deadline:
                raise Fault(
                    f"the supervisor (pid {pid}) cannot be reached on {path}: {error.strerror or error}",
                    "run as its user, with its configuration",
                ) from error
            time.sleep(_STEP_S)
        else:
            return connection


def _broken_off(run_dir: Path) -> Fault:
    if instance.holder(run_dir) is None:
        return Fault("the supervisor stopped before that was done", "see its log")
    return Fault(
        "the supervisor has ended the connection before that was done",
        "`supervisor status` shows how far it is; its log says more",
    )
