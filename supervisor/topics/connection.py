"""The way to the brokers, for whoever looks at topics or changes them: one client at a time, attempts that
may take longer each time, and waits that can be interrupted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from supervisor.config.refused import REFUSALS, refused
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault
from supervisor.contract.settings import Kafka
from supervisor.topics.errors import MISSING, answered, fault, one_line, transient

__all__ = ["POLL_S", "Connection", "Deadline", "Unsettled", "error_of"]

# Brokers name any live broker as the one to send changes to, and a broker that was killed or hangs is live to
# them until its session ends. So a request without an answer is soon sent again by a new client, which learns
# of another broker; each attempt may take twice as long, for clusters that are merely slow.
_FIRST_ATTEMPT_S = 1.5
_LONGEST_ATTEMPT_S = 12.0
POLL_S = 0.1


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def left_s(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def passed(self) -> bool:
        return self.left_s() == 0.0

    def pause(self, wanted_s: float) -> None:
        time.sleep(min(wanted_s, self.left_s()))


class Unsettled(Exception):
    """No answer, or one that contradicts itself: ask again."""


class Connection:
    """Prints nothing and logs nothing; failures are faults.

    ``heed`` is to be called before each request, and is while the answer is waited for; what it raises ends
    the wait, not the request."""

    def __init__(self, kafka: Kafka, heed: Callable[[], None]) -> None:
        self.heed = heed
        self.servers = kafka.bootstrap_servers
        self._config = _client_config(kafka)
        self._errors: list[KafkaError] = []
        self._attempt_s = _FIRST_ATTEMPT_S
        self._answered_s = float("-inf")
        self.client = self.connect(self.servers)

    def silent_s(self) -> float:
        """For how long no broker has answered anything, be it by a refusal; infinite if none ever has."""
        return time.monotonic() - self._answered_s

    def note_answer(self) -> None:
        """A broker has answered something. In any thread: it writes one number, which needs no lock."""
        self._answered_s = time.monotonic()

    def forget_errors(self) -> None:
        """What went wrong with the connections before is no part of what is asked next."""
        self._errors.clear()

    def allowed_s(self, deadline: Deadline) -> float:
        """What one attempt may take: even after the deadline long enough for an answer at once."""
        return max(min(self._attempt_s, deadline.left_s()), POLL_S)

    def begin_again(self, deadline: Deadline) -> None:
        """In a moment, with a new client and more patience."""
        deadline.pause(POLL_S)
        self._attempt_s = min(2 * self._attempt_s, _LONGEST_ATTEMPT_S)
        self.client = self.connect(self.servers)

    def connect(self, servers: str) -> Any:
        """Another client, which begins at ``servers``."""
        try:
            return AdminClient(
                {**self._config, "bootstrap.servers": servers},
                error_cb=self._errors.append,
                logger=_SILENT,
            )
        except REFUSALS as error:
            raise ConfigurationFault(refused(error, self._config), "correct kafka.client") from None

    def until_done(self, futures: Sequence[Future[Any]]) -> None:
        """Wait until all are; every request carries its own timeout, so that this ends."""
        for future in futures:
            future.add_done_callback(self._note)
        while wait(futures, timeout=POLL_S).not_done:
            self.heed()
            self.client.poll(0)
            for error in self._errors:
                if error.code() == KafkaError._AUTHENTICATION:
                    raise ConfigurationFault(
                        f"the brokers refused the login: {one_line(error.str())}",
                        "correct the sasl.* settings in kafka.client",
                    )
        self.client.poll(0)

    def _note(self, future: Future[Any]) -> None:
        error = error_of(future)
        if error is None or answered(error):
            self.note_answer()

    def result(self, future: Future[Any], doing: str) -> Any:
        """Raises Unsettled for no answer, Fault for a refusal; ``doing`` says what could not be done."""
        error = error_of(future)
        if error is None:
            return future.result()
        if transient(error):
            raise Unsettled("" if error.code() == KafkaError._TIMED_OUT else one_line(error.str()))
        raise fault(error, doing, self.servers)

    def existing(self, future: Future[Any], doing: str) -> Any:
        """The same, and None for what does not exist."""
        error = error_of(future)
        return None if error is not None and error.code() == MISSING else self.result(future, doing)

    def unreachable(self, deadline: Deadline, last: str) -> BrokersUnreachable:
        """The end of all attempts; ``last`` is what the last one came to."""
        said = [error for error in self._errors if error.code() != KafkaError._ALL_BROKERS_DOWN]
        reason = one_line(said[-1].str()) if said else last
        return BrokersUnreachable(
            f"no answer from the brokers at {self.servers} within {deadline.timeout_s:g} s"
            + (f": {reason}" if reason else ""),
            "check kafka.bootstrap_servers and that the brokers run",
        )

    def disagreement(self, deadline: Deadline, last: Unsettled) -> BrokersUnreachable:
        """The end of all attempts where brokers have answered, and one of them what another does not know."""
        return BrokersUnreachable(
            f"the brokers at {self.servers} did not agree within {deadline.timeout_s:g} s: {last}",
            "try again when the brokers are well",
        )


_SILENT = logging.Logger("librdkafka")
# librdkafka repeats each failed connection many times a second; what matters arrives by its error callback.
_SILENT.addHandler(logging.NullHandler())


def _client_config(kafka: Kafka) -> dict[str, Any]:
    return {
        "client.id": "supervisor-topics",
        # Defaults of 10 s and 30 s would outlast a whole bootstrap.
        "reconnect.backoff.max.ms": 500,
        "socket.connection.setup.timeout.ms": 2_000,
        **{
            key: str(value).lower() if isinstance(value, bool) else value
            for key, value in kafka.client.items()
        },
    }


def error_of(future: Future[Any]) -> KafkaError | None:
    """The brokers' or the client's answer where it is an error; raises what is neither."""
    exception = future.exception()
    if exception is None:
        return None
    if isinstance(exception, KafkaException):
        error: KafkaError = exception.args[0]
        return error
    raise exception
