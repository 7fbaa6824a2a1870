"""When a worker hangs, and when a partition is stalled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.board import Stage
from supervisor.contract.settings import Health
from supervisor.rules.health import Stalls, deadline_s, hung

HEALTH = Health(idle_timeout_s=30, work_timeout_s=60, brokers_timeout_s=120, stall_timeout_s=60)
START_S = 20.0
DEADLINES = {
    Stage.NONE: START_S,
    Stage.STARTING: START_S,
    Stage.STANDBY: None,
    Stage.FENCING: 120.0,
    Stage.RESTORING: 120.0,
    Stage.CONSUMING: 30.0,
    Stage.PROCESSING: 60.0,
    Stage.SENDING_OFFSETS: 120.0,
    Stage.COMMITTING: 120.0,
    Stage.DRAINING: None,
    Stage.STOPPED: None,
}


# -- hangs ----------------------------------------------------------------------------------------------


def test_every_stage_has_its_deadline() -> None:
    assert {stage: deadline_s(stage, HEALTH, START_S) for stage in Stage} == DEADLINES


@pytest.mark.parametrize("stage", Stage)
def test_a_worker_hangs_once_it_is_silent_for_longer_than_its_stage_allows(stage: Stage) -> None:
    deadline = DEADLINES[stage]
    if deadline is None:
        assert not hung(stage, 1e9, HEALTH, START_S)
    else:
        assert not hung(stage, deadline, HEALTH, START_S)
        assert hung(stage, deadline + 0.001, HEALTH, START_S)


def test_a_spare_may_wait_for_ever_and_one_that_was_given_a_role_may_not() -> None:
    assert not hung(Stage.STANDBY, 1e9, HEALTH, START_S)
    assert hung(Stage.STANDBY, 30.1, HEALTH, START_S, given_role=True)
    assert not hung(Stage.STANDBY, 30.0, HEALTH, START_S, given_role=True)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.STANDBY])
def test_a_role_changes_the_deadline_of_standby_alone(stage: Stage) -> None:
    assert deadline_s(stage, HEALTH, START_S, given_role=True) == DEADLINES[stage]


# -- stalls ---------------------------------------------------------------------------------------------


class Partition:
    """Partition 0 as its board shows it, looked at once a second."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        self.stalls = Stalls(timeout_s)
        self.now = 1_000.0
        self.position = self.committed = 100
        self.end = 200
        self.brokers_answer = self.owned = self.attentive = True

    def look(self, after_s: float = 1.0) -> bool:
        self.now += after_s
        return self.stalls.look(
            0,
            self.position,
            self.committed,
            self.end,
            self.now,
            brokers_answer=self.brokers_answer,
            owned=self.owned,
            attentive=self.attentive,
        )

    def looks(self, seconds: int) -> list[bool]:
        return [self.look() for _ in range(seconds)]


def test_a_partition_with_lag_that_stands_still_is_stalled_after_the_timeout_and_not_before() -> None:
    partition = Partition()
    partition.look()
    assert not any(partition.looks(59))
    assert all(partition.looks(10))


def test_lag_that_is_processed_and_never_committed_is_lag() -> None:
    partition = Partition()
    partition.position = partition.end
    assert partition.looks(61)[-1]


def test_without_lag_nothing_is_stalled() -> None:
    partition = Partition()
    partition.position = partition.committed = partition.end
    assert not any(partition.looks(1_000))


def test_time_without_lag_does_not_count_once_there_is_lag() -> None:
    partition = Partition()
    partition.end = partition.position
    partition.looks(1_000)
    partition.end += 1
    assert not any(partition.looks(60))
    assert partition.look()


@pytest.mark.parametrize("what", ["position", "committed"])
def test_whatever_moves_is_not_stalled_however_slowly(what: str) -> None:
    """A slow consumer, or a first batch that takes its time."""
    partition = Partition()
    partition.end = 10_000
    for _ in range(20):
        assert not any(partition.looks(59))
        setattr(partition, what, getattr(partition, what) + 1)


@pytest.mark.parametrize("condition", ["brokers_answer", "owned"])
def test_an_outage_and_a_vacancy_begin_the_count_anew(condition: str) -> None:
    partition = Partition()
    partition.looks(60)
    setattr(partition, condition, False)
    assert not any(partition.looks(300))
    setattr(partition, condition, True)
    assert not any(partition.looks(60))
    assert partition.look()


def test_a_worker_that_is_busy_with_a_call_is_not_stalled_for_as_long_as_it_takes() -> None:
    partition = Partition()
    partition.attentive = False
    assert not any(partition.looks(1_000))


def test_the_time_that_a_worker_is_busy_elsewhere_does_not_hide_a_stall_for_ever() -> None:
    """The owner of several partitions is seen at this one in every fourth look."""
    partition = Partition()
    partition.look()
    seen = []
    for number in range(241):
        partition.attentive = number % 4 == 0
        seen.append(partition.look())
    assert seen.index(True) == 236


def test_one_look_after_a_long_gap_is_no_proof() -> None:
    """The supervisor itself was stopped, or the machine was suspended."""
    partition = Partition()
    partition.look()
    assert not partition.look(after_s=100_000.0)
    assert not partition.look()


def test_a_new_owner_begins_anew() -> None:
    partition = Partition()
    assert partition.looks(61)[-1]
    partition.stalls.forget(0)
    assert not any(partition.looks(60))


def test_partitions_are_looked_at_each_for_itself() -> None:
    stalls = Stalls(60.0)
    found = []
    for second in range(62):
        moving = stalls.look(0, second, second, 500, second, brokers_answer=True, owned=True)
        still = stalls.look(1, 7, 7, 500, second, brokers_answer=True, owned=True)
        found.append((moving, still))
    assert found[-1] == (False, True)
    assert not any(moving for moving, _ in found)


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 30.0),
            st.integers(0, 1),
            st.integers(0, 1),
            st.integers(0, 3),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_a_stall_is_never_said_before_everything_stood_still_for_the_timeout(
    looks: list[tuple[float, int, int, int, bool, bool]],
) -> None:
    partition = Partition(timeout_s=20.0)
    partition.end = 105
    still_since: float | None = None
    for after_s, position, committed, more, answer, owned in looks:
        partition.position = min(partition.end, partition.position + position)
        partition.committed = min(partition.position, partition.committed + committed)
        moved = bool(position or committed)
        partition.end += more
        partition.brokers_answer, partition.owned = answer, owned
        stalled = partition.look(after_s)
        lag = partition.end > partition.committed
        if not (answer and owned and lag):
            still_since = None
        elif moved or still_since is None:
            still_since = partition.now
        if stalled:
            assert still_since is not None
            assert partition.now - still_since >= 20.0
