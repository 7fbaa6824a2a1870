"""What the demo shows, drawn from a status made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor.demo.view import Moment, Rates, clock, frame, line, top
from supervisor.reporting.status import Governor, Partition, Realtime, Status, Worker

NS = 1_000_000_000


def worker(name: str, state: str = "serving", pid: int | None = 5_000, restarts: int = 0) -> Worker:
    return Worker(
        name=name,
        state=state,
        stage="consuming",
        partition=None,
        pid=pid,
        partitions=(),
        restarts=restarts,
        recycled=0,
        last_exit=None,
        cause=None,
        retry_in_s=None,
        heartbeat_age_s=0.1,
        events=0,
        log_dropped=0,
        generation=1,
        rss_bytes=None,
        nice=None,
        cpus=(),
        cpu_weight=None,
    )


def partition(number: int, committed: int, end: int, letters: int = 0) -> Partition:
    lag = end - committed
    return Partition(
        partition=number,
        worker=f"olap-{number}",
        parked_age_s=None,
        parked_cause=None,
        position=committed,
        committed=committed,
        end=end,
        lag=lag,
        events=committed,
        outputs=committed,
        dead_letters=letters,
        late=0,
        lost=0,
        transactions=1,
        committed_age_s=0.1,
        deaths=0,
        quarantined=0,
        unowned_s=0.0,
    )


STATUS = Status(
    "degraded",
    "running",
    77,
    12.0,
    3,
    0.2,
    0,
    (worker("probe"), worker("realtime-0"), worker("olap-0"), worker("olap-1", "backoff", None, 1)),
    (partition(0, 1_000, 1_250, 7), partition(1, 980, 1_230, 5)),
    Realtime(2_468, 0, 2, 30),
    Governor("free", None, None, 0),
)
MOMENT = Moment(
    phase="generating",
    elapsed_s=65.4,
    duration_s=120.0,
    status=STATUS,
    rates={0: 250.4, 1: 0.0},
    regions={"East": 30, "West": 60, "Unknown": 10},
    periods={"night": 75, "morning": 25},
)


def test_the_whole_view_at_80_by_24() -> None:
    assert frame(MOMENT, 80, 24, "#") == [
        "supervisor demo   generating   1:05 of 2:00   3 brokers   degraded",
        "",
        "WORKER      STATE     PID  RESTARTS  PARTITION  COMMITTED    END  LAG  EVENTS/S",
        "probe       serving  5000         0          0      1,000  1,250  250       250",
        "realtime-0  serving  5000         0          1        980  1,230  250         0",
        "olap-0      serving  5000         0",
        "olap-1      backoff     -         1",
        "",
        "real time   2,468 shown, age when shown: p50 2 ms, p99 30 ms",
        "",
        "REGION                                    TIME OF DAY (UTC)",
        "East       30%       30 #######           morning    25%       25 #####",
        "South       0%        0                   afternoon   0%        0",
        "Midwest     0%        0                   evening     0%        0",
        "West       60%       60 ##############    night      75%       75 ##############",
        "Unknown    10%       10 ##                no time     0%        0",
    ]


def test_before_there_is_a_supervisor_only_the_title_is_shown() -> None:
    assert frame(Moment("starting the brokers"), 80, 24) == ["supervisor demo   starting the brokers"]
    assert line(Moment("starting the brokers")) == "starting the brokers"


def test_brokers_that_nobody_has_heard_of_yet_are_not_counted() -> None:
    starting = replace(STATUS, health="starting", brokers_alive=0, brokers_answered_age_s=None)
    assert frame(Moment("starting", status=starting), 80, 24)[0] == "supervisor demo   starting   starting"


def test_without_a_realtime_worker_the_view_says_so() -> None:
    lines = frame(replace(MOMENT, status=replace(STATUS, realtime=None)), 80, 24)
    assert "real time   (no worker at the moment)" in lines


def test_where_the_bars_do_not_fit_they_become_sentences() -> None:
    lines = frame(MOMENT, 80, 12)
    assert lines[-2:] == [
        "regions     West 60%  East 30%  Unknown 10%",
        "time of day night 75%  morning 25%",
    ]


def test_where_the_workers_do_not_fit_the_rest_is_counted() -> None:
    many = replace(STATUS, workers=tuple(worker(f"olap-{n}") for n in range(32)))
    lines = frame(replace(MOMENT, status=many), 80, 24)
    (hidden,) = (text for text in lines if text.startswith("..."))
    shown = sum(text.startswith("olap-") for text in lines)
    assert hidden == f"... {32 - shown} more lines"
    assert lines[-1].startswith("time of day")


def test_numbers_that_get_longer_do_not_move_the_right_table() -> None:
    def at(committed: int) -> int:
        status = replace(STATUS, partitions=(partition(0, committed, committed),))
        return frame(replace(MOMENT, status=status), 80, 24)[2].index("PARTITION")

    assert at(1) == at(12_345)


@given(st.integers(1, 250), st.integers(1, 80), st.integers(0, 40))
def test_the_view_fits_any_terminal(width: int, height: int, workers: int) -> None:
    status = replace(
        STATUS,
        workers=tuple(worker(f"olap-{n}") for n in range(workers)),
        partitions=tuple(partition(n, 10**9, 10**9) for n in range(workers)),
    )
    lines = frame(replace(MOMENT, status=status), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_the_line_for_a_pipe_sums_up() -> None:
    assert line(MOMENT) == (
        "generating 1:05 of 2:00, degraded, 2,480 in, 1,980 processed (250/s), lag 500, 12 dead letters, "
        "real time p50 2 ms p99 30 ms, West 60%, night 75%"
    )


def test_a_rate_is_of_the_last_three_seconds() -> None:
    rates = Rates()

    def note(at_s: float, committed: int) -> float:
        return rates.note(replace(STATUS, partitions=(partition(0, committed, 9_999),)), int(at_s * NS))[0]

    assert note(0, 0) == 0.0
    assert note(1, 100) == pytest.approx(100)
    assert note(3, 700) == pytest.approx(700 / 3)
    assert note(10, 700) == pytest.approx(0)


def test_a_partition_that_is_new_has_no_rate_yet() -> None:
    rates = Rates()
    rates.note(replace(STATUS, partitions=()), 0)
    assert rates.note(replace(STATUS, partitions=(partition(0, 500, 500),)), NS) == {0: 0.0}


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (65.9, "1:05"), (3_600, "60:00")])
def test_a_clock_has_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_the_top_is_of_what_is_known_and_its_share_of_all() -> None:
    assert top({"Unknown": 50, "East": 30, "West": 20}) == ("East", 0.3)
    assert top({"no time": 3}) is None
    assert top({}) is None
