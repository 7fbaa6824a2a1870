"""When an OLAP worker gives way to others."""

from __future__ import annotations

import pytest

from supervisor.host import priority
from workers.olap.deference import Deference


class Session:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, nice: int = 0) -> None:
        self.nice, self.refuses, self.asked = nice, False, 0
        monkeypatch.setattr(priority, "session_nice", lambda: self.nice)
        monkeypatch.setattr(priority, "give_way", self._give_way)

    def _give_way(self, nice: int) -> bool:
        self.asked += 1
        if not self.refuses:
            self.nice = nice
        return not self.refuses


def test_it_gives_way_while_there_is_a_backlog_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(monkeypatch)
    deference = Deference(10)
    deference.look(behind=False, now=1.0)
    assert (session.nice, session.asked) == (0, 0)
    deference.look(behind=True, now=2.0)
    assert session.nice == 10
    deference.look(behind=False, now=3.0)
    assert (session.nice, session.asked) == (0, 2)


def test_a_backlog_that_comes_and_goes_does_not_change_it_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(monkeypatch)
    deference = Deference(10)
    for turn in range(100):
        deference.look(behind=turn % 2 == 0, now=1 + turn / 100)
    assert session.asked <= 2


def test_what_is_refused_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(monkeypatch)
    session.refuses = True
    deference = Deference(10)
    deference.look(behind=True, now=1.0)
    session.refuses = False
    deference.look(behind=True, now=1.1)
    assert session.nice == 0
    deference.look(behind=True, now=1.6)
    assert session.nice == 10


def test_a_supervisor_that_was_started_nicer_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(monkeypatch, nice=15)
    deference = Deference(10)
    deference.look(behind=True, now=1.0)
    deference.look(behind=False, now=2.0)
    assert session.nice == 15
