"""The status as text: what a person reads, to the letter."""

from __future__ import annotations

from supervisor import render
from supervisor.status import Partition, Realtime, Status, Worker

PROBE = Worker("probe", "serving", "consuming", 100, (), 0, None, 0.1, 0)
OLAP = Worker("olap-0", "backoff", None, None, (0, 2), 12, -9, None, 0)
PARTITION = Partition(2, "olap-0", 1_000, 999, 1_234_567, 1_233_568, 1_000, 998, 1, 0, 0, 9, None)


def status(realtime: Realtime | None, *partitions: Partition) -> Status:
    return Status("degraded", 77, 59.6, 3, 1.0, (PROBE, OLAP), partitions, realtime)


def test_columns_are_as_wide_as_their_widest_cell_and_end_without_blanks() -> None:
    rows = [("A", "LONG", "Z"), ("aaa", "1", ""), ("b", "22", "z")]
    assert render.columns(rows, right=frozenset({1})) == ["A    LONG  Z", "aaa     1", "b      22  z"]


def test_the_whole_status() -> None:
    assert render.tables(status(Realtime(12_345, 6, 1, 480), PARTITION)) == [
        "degraded: supervisor 77, up 60 s, 3 brokers",
        "",
        "WORKER  STATE    STAGE      PID  RESTARTS  LAST EXIT  PARTITIONS",
        "probe   serving  consuming  100         0  -          -",
        "olap-0  backoff  -            -        12  -9         0,2",
        "",
        "PARTITION  WORKER  COMMITTED        END        LAG  OUTPUT  DEAD LETTERS",
        "        2  olap-0        999  1,234,567  1,233,568     998             1",
        "",
        "real time: 12,345 shown, lag 6, age at delivery p50 1 ms, p99 480 ms",
    ]


def test_what_is_not_there_is_not_shown() -> None:
    lines = render.tables(status(None))
    assert len(lines) == 5
    assert lines[-1].startswith("olap-0")


def test_ages_that_are_not_known_are_a_dash() -> None:
    lines = render.tables(status(Realtime(0, 0, None, None)))
    assert lines[-1] == "real time: 0 shown, lag 0, age at delivery p50 -, p99 -"
