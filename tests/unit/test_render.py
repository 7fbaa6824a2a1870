"""The status as text: what a person reads, to the letter."""

from __future__ import annotations

from msgspec.structs import replace

from supervisor.reporting import render
from supervisor.reporting.status import Governor, Partition, Realtime, Status, Worker

FREE = Governor("free", None, None, 0)
PROBE = Worker(
    name="probe",
    state="serving",
    stage="consuming",
    partition=None,
    pid=100,
    partitions=(),
    restarts=0,
    recycled=0,
    last_exit=None,
    cause=None,
    retry_in_s=None,
    heartbeat_age_s=0.1,
    events=0,
    log_dropped=0,
    generation=1,
    rss_bytes=None,
    nice=0,
    cpus=(),
    cpu_weight=None,
)
OLAP = replace(
    PROBE,
    name="olap-0",
    state="backoff",
    stage=None,
    pid=None,
    partitions=(0, 2),
    restarts=12,
    last_exit=-9,
    cause="out_of_memory",
    nice=None,
)
PARTITION = Partition(
    partition=2,
    worker="olap-0",
    parked_age_s=None,
    parked_cause=None,
    position=1_000,
    committed=999,
    end=1_234_567,
    lag=1_233_568,
    events=1_000,
    outputs=998,
    dead_letters=1,
    late=0,
    lost=0,
    transactions=9,
    committed_age_s=None,
    deaths=0,
    quarantined=0,
    unowned_s=0.0,
)


FULL = """\
degraded: parked: supervisor 77, up 60 s, 3 brokers, 4 deaths, workers are being replaced

WORKER  STATE          STAGE      PID  RESTARTS  LAST EXIT           RSS  NICE  CPUS  WEIGHT  GEN  PARTITIONS
probe   serving        consuming  100         0  -                 48 MB     0  -          -    2  -
olap-1  parked         consuming  100         0  -                     -     0  -          -    1  -
olap-0  backoff 1.2 s  -            -        12  -9 out of memory      -    10  1,3       50    1  0,2

PARTITION  WORKER  COMMITTED        END        LAG  OUTPUT  DEAD LETTERS  QUARANTINED  DEATHS  UNOWNED
        2  olap-0        999  1,234,567  1,233,568     998             1            1       3    0.0 s
        3  -             999  1,234,567  1,233,568     998             1            0       0    0.2 s

partition 2 is parked for 90 s (dlq limit): `supervisor restart olap-0` lets it try again
olap-1 is parked (configuration): `supervisor restart olap-1` lets it try again
"""


def status(realtime: Realtime | None, *partitions: Partition, governor: Governor = FREE) -> Status:
    return Status("degraded", "running", 77, 59.6, 3, 1.0, 0, (PROBE, OLAP), partitions, realtime, governor)


def test_columns_are_as_wide_as_their_widest_cell_and_end_without_blanks() -> None:
    rows = [("A", "LONG", "Z"), ("aaa", "1", ""), ("b", "22", "z")]
    assert render.columns(rows, right=frozenset({1})) == ["A    LONG  Z", "aaa     1", "b      22  z"]


def test_the_whole_status() -> None:
    assert render.tables(status(Realtime(12_345, 6, 1, 480), PARTITION)) == [
        "degraded: supervisor 77, up 60 s, 3 brokers",
        "",
        "WORKER  STATE    STAGE      PID  RESTARTS  LAST EXIT         PARTITIONS",
        "probe   serving  consuming  100         0  -                 -",
        "olap-0  backoff  -            -        12  -9 out of memory  0,2",
        "",
        "PARTITION  WORKER  COMMITTED        END        LAG  OUTPUT  DEAD LETTERS",
        "        2  olap-0        999  1,234,567  1,233,568     998             1",
        "",
        "real time: 12,345 shown, lag 6, age at delivery p50 1 ms, p99 480 ms",
    ]


def test_columns_that_say_something_are_shown_and_what_a_person_must_do() -> None:
    full = Status(
        "degraded: parked",
        "reloading",
        77,
        59.6,
        3,
        1.0,
        4,
        (
            replace(PROBE, rss_bytes=48_100_000, generation=2),
            replace(PROBE, name="olap-1", state="parked", cause="configuration"),
            replace(OLAP, retry_in_s=1.25, nice=10, cpus=(1, 3), cpu_weight=50),
        ),
        (
            replace(PARTITION, parked_age_s=90.4, parked_cause="dlq_limit", deaths=3, quarantined=1),
            replace(PARTITION, partition=3, worker=None, unowned_s=0.25),
        ),
        None,
        FREE,
    )
    assert "\n".join(render.tables(full)) == FULL.rstrip()


def test_what_is_not_there_is_not_shown() -> None:
    lines = render.tables(status(None))
    assert len(lines) == 5
    assert lines[-1].startswith("olap-0")


def test_what_the_governor_allows_is_a_line_of_its_own() -> None:
    lines = render.tables(status(Realtime(1, 0, 2, 9), governor=Governor("reduced", 81_250, 64, 3)))
    assert lines[-1] == (
        "governor: reduced, 81,250 events/s for the OLAP side, delay p99 64 ms, held back 3 times"
    )


def test_ages_that_are_not_known_are_a_dash() -> None:
    lines = render.tables(status(Realtime(0, 0, None, None)))
    assert lines[-1] == "real time: 0 shown, lag 0, age at delivery p50 -, p99 -"
