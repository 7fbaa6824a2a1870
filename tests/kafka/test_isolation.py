"""The governor on real brokers: the OLAP side is held back, and still does everything exactly once."""

import pytest
from exactly_once import assert_exactly_once, logins
from installation import Installation

from supervisor.governor.control import State

FLOOR = 2_000
BACKLOG = 30_000


@pytest.fixture
def installation(cluster):
    # No event can be shown in so short a time: whatever the machine, the governor has to go to its floor.
    made = Installation(
        cluster.bootstrap_servers,
        toml=f'realtime.slo_p99_ms = 0.001\nolap.floor_events_s = {FLOOR}\nrealtime.start = "latest"',
    )
    yield made
    made.close()


def test_a_backlog_is_held_back_to_the_floor_and_is_processed_exactly_once(installation):
    installation.create_topics()
    sent = installation.produce(logins(BACKLOG))
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    header = board.header
    seen = set()

    def floor_is_reached():
        nonlocal sent
        # Whom the OLAP side is to be held back for.
        sent += installation.produce(logins(50, seed=sent))
        seen.add((State(header.governor), header.olap_rate))
        # To look how late events are without the OLAP side, or because they still are: which one comes first
        # is the machine's affair.
        return header.olap_rate == FLOOR

    installation.wait(floor_is_reached, "the rate is at its floor")
    assert header.partition_rate <= FLOOR
    assert sum(board.olap(partition).events for partition in range(4)) < sent
    # Now nobody is there to be spared: the rest goes as fast as it can.
    installation.wait(lambda: header.governor == State.FREE, "the real-time side is known to be silent")
    assert (header.olap_rate, header.partition_rate) == (0, 0)
    installation.wait_committed(board)
    assert installation.stop() == 0
    assert all(rate >= FLOOR for state, rate in seen if state is not State.FREE)
    assert_exactly_once(installation, sent)
