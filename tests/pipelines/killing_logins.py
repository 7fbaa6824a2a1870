"""The login pipeline in a worker that is SIGKILLed at a chosen step of its loop.

The step is named by ``KILL_STEP``. How often it happens is the number of files in the directory
``KILL_TOKENS``: a process removes one and dies. The worker's own code is what runs; only the moment is ours.
"""

import os
import signal
import threading
from pathlib import Path

from workers.logins import DIMENSIONS, Event, enrich
from workers.olap.partition import PartitionWork
from workers.olap.transaction import Transaction

__all__ = ["DIMENSIONS", "Event", "enrich"]

_TOKENS = Path(os.environ["KILL_TOKENS"])


def _token() -> bool:
    for token in _TOKENS.iterdir():
        try:
            token.unlink()
        except FileNotFoundError:  # another worker was quicker
            continue
        return True
    return False


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_within() -> None:
    """Die while the call that follows is under way: it lets go of the interpreter as it waits for brokers."""
    threading.Timer(0.001, _die).start()


def _patch(owner, name, around):
    original = getattr(owner, name)

    def patched(self, *arguments):
        return around(original, self, *arguments)

    setattr(owner, name, patched)


def _after_consume(original, self, messages):
    if _token():
        _die()
    return original(self, messages)


def _mid_produce(original, self, topic, values, keys):
    if values and _token():
        half = len(values) // 2
        original(self, topic, values[:half], keys[:half])
        self._producer.flush(0.05)  # some of them reach the brokers
        _die()
    return original(self, topic, values, keys)


def _after_flush(original, self, *arguments):
    if _token():
        assert self._producer.flush(30)
        _die()
    return original(self, *arguments)


def _in_call(original, self, *arguments):
    if _token():
        _die_within()
    return original(self, *arguments)


def _after_commit(original, self):
    result = original(self)
    if _token():
        _die()
    return result


_STEPS = {
    "after_consume": (PartitionWork, "_process", _after_consume),
    "mid_produce": (Transaction, "produce_all", _mid_produce),
    "after_flush": (Transaction, "send_offsets", _after_flush),
    "in_send_offsets": (Transaction, "send_offsets", _in_call),
    "in_commit": (Transaction, "commit", _in_call),
    "after_commit": (Transaction, "commit", _after_commit),
}

_patch(*_STEPS[os.environ["KILL_STEP"]])
