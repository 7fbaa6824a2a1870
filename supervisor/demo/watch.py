"""Looks at the status board and at the aggregates, and shows what it sees."""

from __future__ import annotations

import time

from msgspec.structs import replace

from supervisor.contract.board import Board
from supervisor.demo.screen import Screen
from supervisor.demo.view import PERIODS, Moment, Rates
from supervisor.reporting import status
from workers.aggregates import Aggregates

__all__ = ["Watch", "by_name"]

_SHOW_S = 0.25


class Watch:
    """``board`` and ``aggregates`` are looked at from when they are set; what was seen last stays."""

    def __init__(self, screen: Screen, duration_s: float) -> None:
        self._screen = screen
        self._duration_s = duration_s
        self._rates = Rates()
        self._shown_at = 0.0
        self._first_at = 0.0
        self._ended_at = 0.0
        self.board: Board | None = None
        self.aggregates: Aggregates | None = None
        self.moment = Moment("starting")

    @property
    def seconds(self) -> float:
        """From when the first event was seen to be processed until now, or until :meth:`end`."""
        return (self._ended_at or time.monotonic()) - self._first_at if self._first_at else 0.0

    def end(self) -> None:
        """Everything is processed, or nothing more will be: the clock stops. Twice is as once."""
        self._ended_at = self._ended_at or time.monotonic()

    def tick(self, phase: str) -> None:
        """Look and show, if it is time to."""
        if time.monotonic() - self._shown_at >= _SHOW_S:
            self.show(phase)

    def show(self, phase: str) -> None:
        """Look and show."""
        self._shown_at = time.monotonic()
        self.moment = self._look(phase)
        self._screen.show(self.moment)

    def _look(self, phase: str) -> Moment:
        if self.board is None:
            return replace(self.moment, phase=phase)
        now = status.read(self.board)
        if not self._first_at and any(partition.position for partition in now.partitions):
            self._first_at = time.monotonic()
        regions, periods = self._counts()
        return Moment(
            phase=phase,
            elapsed_s=min(self.seconds, self._duration_s),
            duration_s=self._duration_s,
            status=now,
            rates=self._rates.note(now, time.monotonic_ns()),
            regions=regions,
            periods=periods,
        )

    def _counts(self) -> tuple[dict[str, int], dict[str, int]]:
        if self.aggregates is None:
            return {}, {}
        self.aggregates.refresh()
        return by_name(self.aggregates)


def by_name(aggregates: Aggregates) -> tuple[dict[str, int], dict[str, int]]:
    """Logins by region and by the name of the period, the most first."""
    periods = {PERIODS[flag]: count for flag, count in aggregates.by("time_flg").items()}
    return dict(aggregates.by("region")), periods
