"""What librdkafka says against kafka.client, where commands meet it: a mistake, without secrets."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.settings import Kafka, Scalar
from supervisor.generate.connect import connect
from supervisor.topics.connection import Connection

# librdkafka quotes what it does not understand.
_QUOTED: dict[str, Scalar] = {
    "sasl.oauthbearer.config": "x",
    "sasl.password": "hunter2hunter3",
    "debug": "hunter2hunter3",
}


@pytest.mark.parametrize(
    "meet",
    [
        lambda: Connection(Kafka(client=_QUOTED), heed=lambda: None),
        lambda: connect(_QUOTED, "topic", 1.0, Event(), lambda _: None, lambda _error, _message: None),
    ],
    ids=["topics", "generate"],
)
def test_a_refused_client_is_a_mistake_that_gives_no_secret_away(meet: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationFault, match="<redacted>") as caught:
        meet()
    assert "hunter" not in caught.value.cause
