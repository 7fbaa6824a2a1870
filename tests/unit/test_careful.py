"""How a batch is cut into pieces when some of its records are suspects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.messages import Suspect
from workers.olap import careful
from workers.olap.careful import PIECE, Piece

offsets_lists = st.lists(st.integers(0, 1_000), unique=True, max_size=500).map(sorted)
ranges = st.tuples(st.integers(0, 1_000), st.integers(1, 300))


def suspect(offset: int, end: int, *, quarantine: bool = True) -> Suspect:
    return Suspect(0, offset, end, 3, quarantine, "SIGSEGV", "")


@given(offsets_lists, st.none() | ranges)
def test_every_record_is_in_one_piece_in_order(offsets: list[int], where: tuple[int, int] | None) -> None:
    suspected = None if where is None else suspect(where[0], where[0] + where[1])
    pieces = list(careful.pieces(offsets, suspected))
    assert [place for piece in pieces for place in range(piece.start, piece.end)] == list(range(len(offsets)))
    assert all(0 < piece.end - piece.start <= PIECE for piece in pieces)


@given(offsets_lists, ranges, st.booleans())
def test_the_records_of_the_range_are_alone_and_no_others(
    offsets: list[int], where: tuple[int, int], quarantine: bool
) -> None:
    first, end = where[0], where[0] + where[1]
    pieces = list(careful.pieces(offsets, suspect(first, end, quarantine=quarantine)))
    alone = [offsets[piece.start] for piece in pieces if piece.alone]
    assert alone == [offset for offset in offsets if first <= offset < end]
    assert all(piece.end - piece.start == 1 for piece in pieces if piece.alone)
    quarantined = [offsets[piece.start] for piece in pieces if piece.quarantined]
    assert quarantined == [offset for offset in offsets if quarantine and offset == first]


def test_a_record_that_was_compacted_away_is_nothing_to_wait_for() -> None:
    assert list(careful.pieces([3, 6, 9], suspect(4, 7))) == [
        Piece(0, 1),
        Piece(1, 2, alone=True),
        Piece(2, 3),
    ]


@given(st.integers(0, 1_000), ranges, st.integers(1, 500))
def test_a_batch_ends_before_the_range_or_is_one_record(
    next_offset: int, where: tuple[int, int], most: int
) -> None:
    suspected = suspect(where[0], where[0] + where[1])
    size = careful.batch_size(suspected, next_offset, most)
    assert 1 <= size <= most
    if next_offset >= suspected.end:
        assert size == most
    elif next_offset >= suspected.offset:
        assert size == 1
    else:
        assert next_offset + size <= suspected.offset


def test_without_a_suspect_batches_are_as_large_as_they_may_be() -> None:
    assert careful.batch_size(None, 7, 4_000) == 4_000
    assert list(careful.pieces(range(450), None)) == [Piece(0, 200), Piece(200, 400), Piece(400, 450)]
