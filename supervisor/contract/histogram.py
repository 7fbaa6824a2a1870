"""A latency histogram of fixed size over words of the board.

Milliseconds fall into buckets that are exact up to 15 ms and within 1/8 of the value above (two linear
sub-buckets would be coarse, eight per octave are fine for a p99), as in HdrHistogram (Gil Tene) with three
significant bits. The last bucket takes everything from about four minutes on.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence, Sequence

__all__ = ["BUCKETS", "Histogram", "bucket_of", "lower_bound"]

_LINEAR = 16
_PER_OCTAVE = 8
_OCTAVES = 14
BUCKETS = _LINEAR + _OCTAVES * _PER_OCTAVE


def bucket_of(milliseconds: int) -> int:
    """The bucket of a value; negative values (a clock ahead of ours) count as zero."""
    if milliseconds < _LINEAR:
        return max(0, milliseconds)
    octave = milliseconds.bit_length() - 5
    if octave >= _OCTAVES:
        return BUCKETS - 1
    return _LINEAR + octave * _PER_OCTAVE + (milliseconds >> (octave + 1)) - _PER_OCTAVE


def lower_bound(bucket: int) -> int:
    """The smallest value, in milliseconds, that falls into ``bucket``."""
    if bucket < _LINEAR:
        return bucket
    octave, place = divmod(bucket - _LINEAR, _PER_OCTAVE)
    return (_PER_OCTAVE + place) << (octave + 1)


class Histogram:
    """Counts per bucket, kept in ``words``: a slice of the board, or a list."""

    def __init__(self, words: MutableSequence[int] | memoryview[int]) -> None:
        self._words = words

    def add(self, milliseconds: Iterable[int]) -> None:
        words = self._words
        for value in milliseconds:
            words[bucket_of(value)] += 1

    def counts(self) -> list[int]:
        return list(self._words)

    @staticmethod
    def quantile(counts: Sequence[int], share: float) -> int | None:
        """The smallest bucket bound, in milliseconds, below which ``share`` of the counted values lie.

        ``None`` where nothing was counted.
        """
        total = sum(counts)
        if not total:
            return None
        rank = share * total
        seen = 0
        for bucket, count in enumerate(counts):
            seen += count
            if count and seen >= rank:
                return lower_bound(bucket)
        return lower_bound(len(counts) - 1)
