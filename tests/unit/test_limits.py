"""The limits of dead letters, against a recount of every record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.settings import Dlq
from workers.olap.limits import DlqLimit

UNLIMITED = Dlq(max_run=0, max_ratio=0)

pieces = st.lists(st.lists(st.booleans(), min_size=1, max_size=12), max_size=60)
"""Records piece by piece: whether each is bad."""


def add(limit: DlqLimit, piece: list[bool]) -> str | None:
    # Reversed: nobody promises that bad records are named in order.
    return limit.add(len(piece), [place for place, bad in enumerate(piece) if bad][::-1])


def longest_run(records: list[bool]) -> int:
    return max(map(len, "".join("x" if bad else " " for bad in records).split()), default=0)


@given(pieces, st.integers(1, 15))
def test_a_run_is_found_in_the_piece_in_which_it_becomes_too_long_and_not_before(
    given_pieces: list[list[bool]], max_run: int
) -> None:
    limit = DlqLimit(Dlq(max_run=max_run, max_ratio=0))
    records: list[bool] = []
    for piece in given_pieces:
        records += piece
        found = add(limit, piece)
        assert (found is not None) == (longest_run(records) >= max_run)
        if found is not None:
            assert found.endswith("records in a row cannot be processed")
            return


@given(pieces, st.integers(1, 300))
def test_the_window_holds_the_last_events_and_few_more(
    given_pieces: list[list[bool]], ratio_events: int
) -> None:
    limit = DlqLimit(Dlq(max_run=0, max_ratio=0, ratio_events=ratio_events))
    records: list[bool] = []
    for piece in given_pieces:
        records += piece
        add(limit, piece)
        assert limit.bad == sum(records[len(records) - limit.seen :])
        assert min(len(records), ratio_events) <= limit.seen < ratio_events + max(12, ratio_events // 100) + 1


@given(pieces, st.integers(1, 40), st.sampled_from([0.1, 0.5, 1.0]))
def test_a_share_counts_once_the_window_is_full_and_only_bad_records_stop_anybody(
    given_pieces: list[list[bool]], ratio_events: int, max_ratio: float
) -> None:
    limit = DlqLimit(Dlq(max_run=0, max_ratio=max_ratio, ratio_events=ratio_events))
    for piece in given_pieces:
        found = add(limit, piece)
        too_many = limit.seen >= ratio_events and limit.bad >= max_ratio * limit.seen
        assert (found is not None) == (too_many and any(piece))


@given(pieces, st.integers(0, 60), st.integers(1, 40))
def test_a_successor_counts_on(given_pieces: list[list[bool]], handed_over: int, ratio_events: int) -> None:
    """The run exactly; of the window its size and its share, in one group until that has left it."""
    settings = Dlq(max_run=7, max_ratio=0.5, ratio_events=ratio_events)
    first = DlqLimit(settings)
    for piece in given_pieces[:handed_over]:
        add(first, piece)
    successor = DlqLimit(settings, run=first.run, seen=first.seen, bad=first.bad)
    assert (successor.run, successor.seen, successor.bad) == (first.run, first.seen, first.bad)
    records = [bad for piece in given_pieces[:handed_over] for bad in piece]
    for piece in given_pieces[handed_over:]:
        records += piece
        add(first, piece)
        add(successor, piece)
        assert successor.run == first.run
        assert 0 <= successor.bad <= successor.seen


@given(pieces)
def test_zero_is_no_limit(given_pieces: list[list[bool]]) -> None:
    limit = DlqLimit(UNLIMITED)
    assert not any(add(limit, piece) for piece in given_pieces)
    assert not any(add(limit, [True] * 12) for _ in range(2_000))


def test_what_is_exceeded_is_said_with_its_numbers() -> None:
    assert add(DlqLimit(Dlq(max_run=1_000)), [True] * 1_000) == "1,000 records in a row cannot be processed"
    alternating = [False, True] * 5_000
    assert (
        add(DlqLimit(Dlq(max_run=0)), alternating) == "5,000 of the last 10,000 records cannot be processed"
    )


def test_one_record_at_a_time_a_large_window_takes_little_memory() -> None:
    limit = DlqLimit(Dlq(max_run=0, max_ratio=0, ratio_events=10_000))
    for _ in range(30_000):
        limit.add(1, ())
    assert len(limit._groups) <= 102
