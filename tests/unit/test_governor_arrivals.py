"""What arrives all the time, told from what comes once."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from supervisor.governor.arrivals import Arrivals

PARTITIONS = 4


def steadily(rate: Callable[[float], float], seconds: int, arrivals: Arrivals | None = None) -> Arrivals:
    """``rate`` tells the events that arrive in each second."""
    arrivals, end = arrivals or Arrivals(), 1_000.0
    for s in range(seconds):
        arrivals.feed(dict.fromkeys(range(PARTITIONS), int(end / PARTITIONS)), 50.0 + s)
        end += rate(s)
    return arrivals


def test_a_steady_load_is_known_after_a_quarter_of_a_minute() -> None:
    assert steadily(lambda _: 20_000, 15).steady == 0
    assert steadily(lambda _: 20_000, 16).steady == 20_000


def test_a_backlog_that_was_there_at_the_start_has_not_arrived() -> None:
    arrivals = Arrivals()
    for s in range(60):
        arrivals.feed({0: 5_000_000 + 500 * s}, s)
    assert arrivals.steady == 500


def test_a_backfill_of_half_a_minute_is_none_of_it() -> None:
    assert steadily(lambda s: 100_000 if 60 <= s < 90 else 500, 92).steady == 500


def test_a_load_that_goes_on_is_all_of_it_within_a_minute() -> None:
    assert steadily(lambda s: 20_000 if s >= 60 else 500, 121).steady == 20_000


def test_what_comes_in_batches_each_second_or_two_is_steady() -> None:
    steady = steadily(lambda s: 40_000 if s % 2 else 0, 120).steady
    assert 0.75 * 20_000 <= steady <= 1.25 * 20_000


def test_a_load_that_has_ended_is_forgotten_within_half_a_minute() -> None:
    assert steadily(lambda s: 20_000 if s < 60 else 0, 91).steady == 0


def test_brokers_that_were_away_make_no_burst_of_what_came_meanwhile() -> None:
    """Nobody could look for ten minutes; then all is seen at once."""
    arrivals = steadily(lambda _: 20_000, 60)
    before = arrivals.steady
    arrivals.feed(dict.fromkeys(range(PARTITIONS), 12_000_000 // PARTITIONS), 660.0)
    assert arrivals.steady == before


def test_added_partitions_and_a_topic_made_anew_count_from_what_they_have_then() -> None:
    arrivals = Arrivals()
    for s in range(40):
        ends = {0: 1_000_000 + 100 * s} if s < 20 else {0: 100 * s, 1: 3_000_000 + 100 * s}
        arrivals.feed(ends, s)
    assert arrivals.steady <= 200


def looks() -> st.SearchStrategy[list[tuple[dict[int, int], float]]]:
    ends = st.dictionaries(st.integers(0, 5), st.integers(0, 2**63 - 1), max_size=6)
    return st.lists(st.tuples(ends, st.floats(0, 1e9)), max_size=40)


@given(looks=looks())
def test_any_looks_are_borne(looks: list[tuple[dict[int, int], float]]) -> None:
    arrivals = Arrivals()
    for ends, seen_s in looks:
        arrivals.feed(ends, seen_s)
        assert arrivals.steady >= 0
