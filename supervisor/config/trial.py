"""Tries out what no rule can tell: whether the pipeline loads, and whether librdkafka takes ``kafka.client``.

Both run in a child process with a time limit. A pipeline is anybody's code, which may exit, hang or crash; a
client may look for tokens in the network when it is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

from supervisor.config.keys import dotted
from supervisor.config.load import Loaded
from supervisor.config.mistakes import DEFAULT, Mistake
from supervisor.config.values import without_secrets
from supervisor.contract.faults import Fault
from supervisor.contract.settings import Kafka, Olap, Settings

__all__ = ["answer", "client_mistakes", "pipeline_mistakes"]

_TIMEOUT_S = 30.0

# The request comes by stdin, since anybody may read a command line, and passwords are in it.
_CHILD = (
    "import json, sys\n"
    "request = json.load(sys.stdin)\n"
    "sys.path[:] = request['path']\n"
    "from supervisor.config.trial import answer\n"
    "answer(request)\n"
)


def pipeline_mistakes(loaded: Loaded, timeout_s: float = _TIMEOUT_S) -> list[Mistake]:
    """Why the pipeline's module cannot be loaded, with the modules that this process would find."""
    reply = _ask({"trial": "pipeline", "module": loaded.settings.app.pipeline}, timeout_s)
    if isinstance(reply, str):
        reply = [[f"importing the pipeline module {loaded.settings.app.pipeline} {reply}", ""]]
    origin = loaded.origins["app.pipeline"]
    return [Mistake(origin, problem, hint, key="app.pipeline") for problem, hint in reply]


def client_mistakes(loaded: Loaded, timeout_s: float = _TIMEOUT_S) -> list[Mistake]:
    """What librdkafka says against the entries of ``kafka.client``, against them together, or against one of
    them beside what the workers set. Those that are mistakes already are left out."""
    known = {mistake.key for mistake in loaded.mistakes}
    client = {
        name: value
        for name, value in loaded.settings.kafka.client.items()
        if dotted(("kafka", "client", name)) not in known
    }
    if not client:
        return []
    # A producer's own time-outs are refused beside a shorter one of the transaction.
    beside = {"transaction_timeout_ms": loaded.settings.olap.transaction_timeout_ms}
    reply = _ask({"trial": "client", "client": client, **beside}, timeout_s)
    if isinstance(reply, str):
        reply = [["", f"trying kafka.client {reply}"]]
    mistakes = []
    for name, problem in reply:
        path = ("kafka", "client", name) if name else ("kafka", "client")
        origin = loaded.origins.get(dotted(path), DEFAULT)
        problem = f"{dotted(path)}: {without_secrets(problem, client)}"
        mistakes.append(Mistake(origin, problem, "see librdkafka's CONFIGURATION.md", key=dotted(path)))
    return mistakes


def _ask(request: dict[str, Any], timeout_s: float) -> list[list[str]] | str:
    """The child's answer, or how it ended without one.

    The answer comes by a file: standard output belongs to the pipeline's code, and a grandchild that keeps a
    pipe open would keep us waiting.
    """
    with tempfile.TemporaryDirectory(prefix="supervisor-") as directory:
        reply = File(directory, "reply")
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            child.communicate(
                json.dumps({**request, "path": sys.path, "reply": str(reply)}).encode(), timeout_s
            )
        except subprocess.TimeoutExpired:
            return f"took longer than {timeout_s:g} s"
        finally:
            _end(child)
        if reply.exists():
            answered: list[list[str]] = json.loads(reply.read_bytes())
            return answered
    if child.returncode < 0:
        return f"ended in a crash ({signal.Signals(-child.returncode).name})"
    return f"ended the process with exit code {child.returncode}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it may have started; the group lives on while one of them does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def answer(request: dict[str, Any]) -> None:
    """The child's side: carry out ``request`` and write the answer, whole or not at all."""
    if request["trial"] == "pipeline":
        found = _try_pipeline(request["module"])
    else:
        found = _try_client(request["client"], request["transaction_timeout_ms"])
    reply = File(request["reply"])
    unfinished = reply.with_suffix(".new")
    unfinished.write_text(json.dumps(found))
    unfinished.replace(reply)
    # No destructor, exit handler or thread of the code that was tried has a say in how this ends.
    os._exit(0)


def _try_pipeline(module: str) -> list[list[str]]:
    from workers.pipeline import load

    try:
        load(module)
    except Fault as fault:
        return [[" ".join(fault.cause.split()), fault.remedy]]
    return []


def _try_client(client: dict[str, Any], transaction_timeout_ms: int) -> list[list[str]]:
    """[name, problem] of each entry that no client takes; where there is none, of what speaks against the
    clients that are made, with "" for the name where no entry is to blame by itself."""
    refused = [[name, problem] for name, value in client.items() if (problem := _refusal({name: value}))]
    named = [[name, problem] for name, problem in refused if not _TOGETHER.match(problem)]
    if named:
        return named
    if problem := _refusal(client):
        return [["", _TOGETHER.sub("", problem)]]
    problem = _refusal_by_a_role(client, transaction_timeout_ms)
    alone = [
        name
        for name, value in client.items()
        if problem and _refusal_by_a_role({name: value}, transaction_timeout_ms) == problem
    ]
    name = alone[0] if len(alone) == 1 else ""
    return [[name, _TOGETHER.sub("", problem)]] if problem else []


# So librdkafka begins if each property is fine and they do not go together: a protocol without a password.
_TOGETHER = re.compile("^Failed to create (producer|consumer): ")


def _refusal(client: dict[str, Any]) -> str:
    from confluent_kafka import Producer

    return _refusal_of(lambda: Producer({**client, "log_level": 0}))


def _refusal_by_a_role(client: dict[str, Any], transaction_timeout_ms: int) -> str:
    """What is refused by one kind of client, or beside what that one is made with."""
    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from workers.kafka import client as clients
    from workers.kafka.producer import Producer

    kafka = Kafka(client={**client, "log_level": 0})
    settings = Settings(kafka=kafka, olap=Olap(transaction_timeout_ms=transaction_timeout_ms))
    makers: tuple[Callable[[], object], ...] = (
        lambda: Producer(clients.olap_producer(settings, 0)),
        lambda: Consumer(clients.olap_consumer(settings)),
        lambda: Consumer(clients.realtime_consumer(settings)),
        lambda: AdminClient(clients.probe(settings)),
    )
    return next(filter(None, map(_refusal_of, makers)), "")


def _refusal_of(make: Callable[[], object]) -> str:
    from supervisor.config.refused import REFUSALS, said

    try:
        make()
    except REFUSALS as error:
        return said(error)
    return ""
