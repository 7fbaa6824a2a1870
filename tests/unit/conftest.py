"""Simulated brokers for the tests of what the Kafka clients report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulated_brokers import SimulatedBrokers


@pytest.fixture
def brokers() -> Iterator[SimulatedBrokers]:
    # Imported here: the other tests do without the Kafka client.
    from simulated_brokers import SimulatedBrokers

    simulated = SimulatedBrokers()
    yield simulated
    simulated.close()
