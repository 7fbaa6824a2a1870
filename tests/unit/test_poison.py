"""Which record kills its workers: from a piece of a batch to one offset."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from supervisor.contract.messages import Suspect
from supervisor.reporting.tally import Death
from supervisor.rules.poison import Suspicions, counts
from supervisor.rules.policy import Cause


def named(suspect: Suspect | None) -> tuple[int, int, int, bool]:
    assert suspect is not None
    return suspect.offset, suspect.end, suspect.deaths, suspect.quarantine


def test_only_deaths_that_a_record_may_have_brought_about_count() -> None:
    assert {cause for cause in Cause if counts(cause)} == {
        Cause.CRASH,
        Cause.OUT_OF_MEMORY,
        Cause.HUNG,
        Cause.KILLED,
    }


def test_three_deaths_quarantine_a_record_the_first_with_a_whole_piece_in_hand() -> None:
    suspicions = Suspicions(3)
    suspicions.died(2, 100, 300, 40, "SIGSEGV", "stack 1")
    assert suspicions.suspect(2) == Suspect(2, 100, 300, 1, False, "SIGSEGV", "stack 1")
    suspicions.passed(2, 150)
    suspicions.died(2, 150, 151, 150, "SIGBUS", "stack 2")
    assert suspicions.suspect(2) == Suspect(2, 150, 300, 2, False, "SIGBUS", "stack 2")
    suspicions.died(2, 150, 151, 150, "SIGSEGV", "stack 3")
    assert suspicions.suspect(2) == Suspect(2, 150, 300, 3, True, "SIGSEGV", "stack 3")


def test_what_is_behind_a_quarantined_record_stays_suspected_until_it_is_passed() -> None:
    suspicions = Suspicions(2)
    suspicions.died(0, 100, 300, 100, "SIGSEGV")
    suspicions.died(0, 150, 151, 150, "SIGSEGV")
    assert named(suspicions.suspect(0)) == (150, 300, 2, True)
    suspicions.passed(0, 151)
    assert named(suspicions.suspect(0)) == (151, 300, 1, False)
    suspicions.passed(0, 300)
    assert suspicions.suspect(0) is None


def test_one_death_is_enough_where_one_is_asked_for_and_the_record_was_alone() -> None:
    suspicions = Suspicions(1)
    suspicions.died(0, 100, 300, 100, "SIGSEGV")
    assert named(suspicions.suspect(0)) == (100, 300, 1, False)
    suspicions.died(0, 150, 151, 150, "SIGSEGV")
    assert named(suspicions.suspect(0)) == (150, 300, 2, True)


def test_a_piece_in_hand_again_and_again_names_nobody() -> None:
    suspicions = Suspicions(3)
    for _ in range(10):
        suspicions.died(0, 100, 300, 100, "SIGSEGV")
    assert named(suspicions.suspect(0)) == (100, 300, 1, False)


def test_the_record_that_is_left_of_a_piece_is_not_named_by_that() -> None:
    suspicions = Suspicions(1)
    suspicions.died(0, 100, 300, 100, "SIGKILL")
    suspicions.passed(0, 299)
    assert named(suspicions.suspect(0)) == (299, 300, 1, False)
    suspicions.died(1, 100, 300, 299, "SIGKILL")
    assert named(suspicions.suspect(1)) == (299, 300, 1, False)


def test_what_was_not_in_hand_or_is_committed_is_not_suspected() -> None:
    suspicions = Suspicions(1)
    suspicions.died(0, 300, 300, 300, "SIGKILL")
    suspicions.died(0, 100, 300, 300, "SIGKILL")
    suspicions.died(0, 0, 0, 0, "SIGKILL")
    assert suspicions.suspect(0) is None


def test_a_kill_by_an_operator_is_forgotten_with_the_first_progress_beyond() -> None:
    suspicions = Suspicions(3)
    for start in range(0, 2_000, 200):
        suspicions.died(0, start, start + 200, start, "SIGKILL")
        suspicions.passed(0, start + 200)
        assert suspicions.suspect(0) is None


def test_partitions_are_suspected_each_for_itself() -> None:
    suspicions = Suspicions(1)
    suspicions.died(0, 5, 6, 5, "SIGSEGV")
    suspicions.died(1, 7, 8, 7, "SIGSEGV")
    suspicions.passed(0, 100)
    assert suspicions.suspect(0) is None
    assert named(suspicions.suspect(1)) == (7, 8, 1, True)


def test_of_two_culprits_the_first_is_dealt_with_first() -> None:
    suspicions = Suspicions(1)
    suspicions.died(0, 9, 10, 0, "SIGSEGV")
    suspicions.died(0, 5, 6, 0, "SIGBUS")
    assert named(suspicions.suspect(0)) == (5, 10, 1, True)
    suspicions.passed(0, 6)
    assert named(suspicions.suspect(0)) == (9, 10, 1, True)


def death(cause: str, partition: int | None, offset: int | None, end: int | None, code: int = -11) -> Death:
    return Death(
        time="2026-01-01T00:00:00Z",
        worker="olap-0",
        pid=1,
        uptime_s=1.0,
        exit_code=code,
        cause=cause,
        partition=partition,
        offset=offset,
        offset_end=end,
        stack_tail="at enrich",
    )


def test_the_count_survives_a_restart_of_the_supervisor() -> None:
    suspicions = Suspicions(3)
    suspicions.load(
        [
            death("crash", 0, 100, 300),
            death("stopped", 0, 0, 50, code=0),
            death("crash", None, None, None),
            death("crash", 0, 120, None),  # of its own decision, which names an offset and no piece
            death("from a later version", 0, 0, 50),
            death("crash", 0, 150, 151),
        ]
    )
    assert suspicions.suspect(0) == Suspect(0, 100, 300, 2, False, "SIGSEGV", "at enrich")
    suspicions.died(0, 150, 151, 150, "SIGSEGV")
    found = suspicions.suspect(0)
    assert found is not None
    assert (found.offset, found.quarantine) == (150, True)


def test_what_was_committed_before_a_restart_of_the_supervisor_is_cleared_by_the_first_look() -> None:
    suspicions = Suspicions(3)
    suspicions.load([death("crash", 0, 100, 300)])
    suspicions.passed(0, 5_000)
    assert suspicions.suspect(0) is None


PIECE = 20


@given(
    st.sets(st.integers(0, 59), max_size=6),
    st.integers(1, 4),
    st.sampled_from([1, 7, PIECE, 60]),
)
@settings(deadline=None)
def test_every_poison_record_is_quarantined_and_no_other(
    poison: set[int], deaths_needed: int, commit_every: int
) -> None:
    """A worker as ours: whole pieces where nothing is suspected, one record at a time where it is, a commit
    before and after each of those; and a commit now and then elsewhere."""
    suspicions = Suspicions(deaths_needed)
    committed, quarantined, deaths = 0, set(), 0
    while committed < 60:
        suspect = suspicions.suspect(0)
        begin = committed
        died = False
        position = committed
        while position < 60 and not died:
            careful = suspect is not None and suspect.offset <= position < suspect.end
            if careful:
                committed = position
            stop = position + 1 if careful else min(60, position + PIECE)
            if suspect is not None and position < suspect.offset:
                stop = min(stop, suspect.offset)
            if suspect is not None and suspect.quarantine and position == suspect.offset:
                quarantined.add(position)
            elif poison & set(range(position, stop)):
                deaths += 1
                died = True
                suspicions.passed(0, committed)
                suspicions.died(0, position, stop, committed, "SIGSEGV")
                continue
            position = stop
            if careful or position - committed >= commit_every or position == 60:
                committed = position
        suspicions.passed(0, committed)
        assert died or committed == 60
        assert committed >= begin
        assert deaths <= len(poison) * (deaths_needed + 1)
    assert quarantined == poison
    assert suspicions.suspect(0) is None


def test_another_number_of_deaths_counts_those_that_there_were() -> None:
    suspicions = Suspicions(3)
    for _ in range(2):
        suspicions.died(0, 7, 8, 0, "SIGSEGV")
    for needed, quarantine in ((3, False), (2, True), (3, False)):
        suspicions.adopt(needed)
        suspect = suspicions.suspect(0)
        assert suspect is not None
        assert suspect.quarantine is quarantine


class SuspicionsMachine(RuleBasedStateMachine):
    """Deaths anywhere and commits at any time, against all deaths ever."""

    NEEDED = 3

    def __init__(self) -> None:
        super().__init__()
        self.suspicions = Suspicions(self.NEEDED)
        self.committed = 0
        self.deaths: list[tuple[int, int]] = []

    def at(self, offset: int) -> int:
        there = [(first, end) for first, end in self.deaths if first <= offset < end]
        alone = sum(end - first == 1 for first, end in there)
        return alone + (len(there) > alone)

    @rule(ahead=st.integers(0, 5), length=st.sampled_from([0, 1, 1, 1, 4]))
    @precondition(lambda self: len(self.deaths) < 90)
    def die(self, ahead: int, length: int) -> None:
        first = self.committed + ahead
        self.suspicions.died(0, first, first + length, self.committed, "SIGSEGV")
        self.deaths.append((first, first + length))

    @rule(offsets=st.integers(0, 6))
    def commit(self, offsets: int) -> None:
        self.committed += offsets
        self.suspicions.passed(0, self.committed)

    @invariant()
    def whoever_was_in_hand_and_is_not_committed_is_suspected(self) -> None:
        suspect = self.suspicions.suspect(0)
        left = [(max(first, self.committed), end) for first, end in self.deaths if end > self.committed]
        left = [(first, end) for first, end in left if first < end]
        if not left:
            assert suspect is None
            return
        assert suspect is not None
        assert suspect.end == max(end for _, end in left)
        assert suspect.quarantine or suspect.offset == min(first for first, _ in left)

    @invariant()
    def who_is_quarantined_was_alone_in_hand_and_has_enough_deaths(self) -> None:
        suspect = self.suspicions.suspect(0)
        culprits = [
            offset
            for offset in range(self.committed, self.committed + 12)
            if (offset, offset + 1) in self.deaths and self.at(offset) >= self.NEEDED
        ]
        assert (suspect is not None and suspect.quarantine) == bool(culprits)
        if culprits:
            assert suspect is not None
            assert suspect.offset == min(culprits)
            assert suspect.deaths == self.at(min(culprits))


TestSuspicions = SuspicionsMachine.TestCase
