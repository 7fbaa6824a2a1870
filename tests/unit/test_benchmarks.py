"""The benchmarks: what they measure is not tested here, that and how they measure it is."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest

from benchmarks import throughput_page
from benchmarks.backlog import Backlog, number_of
from benchmarks.environment import Absent, environment
from benchmarks.machine import Machine
from benchmarks.output import Account, WrongOutput
from benchmarks.peers import PEERS
from benchmarks.tree import CpuTimes
from benchmarks.trial import window
from supervisor.host import priority

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "supervision.py"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_benchmark_of_supervision_times_a_kill(tmp_path: Path) -> None:
    name = "ours, with the spare"
    arguments = ("--only", name, "--kills", "1", "--at-once", "0", "--idle", "0", "--workers", "1")
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments, "--cache", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["one"][name]
    assert {spread["kills"] for spread in steps.values()} == {1}
    # Not "refilled": that is noted when the replacement has been told, which may have begun by then.
    order = [steps[step]["median_ms"] for step in ("noticed", "served", "first instruction")]
    assert order[0] > 0
    assert order == sorted(order)


def test_a_supervisor_that_cannot_be_installed_is_absent_and_it_is_said_why(tmp_path: Path) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()
    with pytest.raises(Absent, match="Not a directory"):
        environment(no_directory, ("gunicorn==27.0.1",), {})


# -- throughput -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backlog() -> Backlog:
    return Backlog(8_000)


def expected(backlog: Backlog, number: int) -> bytes:
    return json.dumps(backlog.output(number)).encode()


def test_the_backlog_of_the_throughput_benchmark_is_the_same_each_time_and_each_event_is_told_apart(
    backlog: Backlog,
) -> None:
    numbers = [number_of(backlog.value(number)) for number in range(backlog.count)]
    again = Backlog(8_000)
    assert all(again.value(number) == backlog.value(number) for number in range(backlog.count))
    assert numbers.count(None) == backlog.anonymous > 0
    assert all(found in (number, None) for number, found in enumerate(numbers))


def test_a_whole_output_is_found_whole_in_any_order(backlog: Backlog) -> None:
    account = Account(backlog)
    for number in reversed(range(backlog.count)):
        account.add(expected(backlog, number))
    assert (account.missing, account.repeated) == (0, 0)


def test_a_repeated_output_does_not_stand_for_one_that_is_missing(backlog: Backlog) -> None:
    account = Account(backlog)
    for number in [0, 0, *range(1, backlog.count - 1)]:
        account.add(expected(backlog, number))
    assert (account.missing, account.repeated) == (1, 1)


@pytest.mark.parametrize("change", [{"region": "Unknown"}, {"time_flg": None}, {"device_id": None}])
def test_an_output_that_does_less_is_wrong(backlog: Backlog, change: dict[str, None]) -> None:
    number = next(n for n in range(0, 8_000, 101) if backlog.output(n)["region"] != "Unknown")
    with pytest.raises(WrongOutput):
        Account(backlog).add(json.dumps(backlog.output(number) | change).encode())


def test_the_plain_loop_does_what_the_product_does(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    applications = BENCHMARK.parent / "peers" / "applications"
    monkeypatch.syspath_prepend(str(applications))
    enrich = runpy.run_path(str(applications / "plain_loop.py"))["enrich"]
    for number in range(backlog.count):
        assert enrich(json.loads(backlog.value(number))) == backlog.output(number)


def test_time_runs_from_the_end_of_the_warm_up_to_the_last_output() -> None:
    moments = [3_000, *range(1_010, 1_100, 10), *[1_000] * 10]  # 20, of which two are warm-up
    assert window(moments, 20) == (1.0, 1.0, 3.0, 10)
    assert window(range(1_000, 2_000), 1_000) == (1.0, 1.1, 1.999, 899)


def test_cpu_time_is_taken_in_proportion_and_never_falls() -> None:
    times = CpuTimes()
    for moment, used in ((10.0, 1.0), (12.0, 3.0), (13.0, 2.5), (14.0, 4.0)):
        times.add(moment, used)
    assert [times.at(moment) for moment in (9.0, 11.0, 13.0, 13.5, 20.0)] == [1.0, 2.0, 3.0, 3.5, 4.0]


def test_every_peer_says_what_it_guarantees_and_what_it_is_set_to() -> None:
    told = [(peer.name, peer.guarantee, peer().settings) for peer in PEERS]
    assert all(all(words) for words in told)
    assert len({name for name, _, _ in told}) == len(PEERS)


def test_everything_in_a_peers_environment_has_a_version_of_its_own() -> None:
    files = sorted((BENCHMARK.parent / "peers" / "requirements").glob("*.txt"))
    assert files
    lines = [line for path in files for line in path.read_text().split()]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def result() -> dict[str, Any]:
    def trials(rates: list[float]) -> list[dict[str, Any]]:
        return [
            {"round": number, "rate": rate, "cpu_us": 1e6 / rate, "start_s": 1.0, "start_cpu_s": 2.0}
            | {"events": 4_000, "seconds": 5.0, "repeated": 0, "brokers_us": 4.0, "yardstick_us": 1.0}
            for number, rate in enumerate(rates, 1)
        ]

    about = {"version": "1", "guarantee": "at least once", "settings": "a | b", "failures": []}
    return {
        "machine": {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
        | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "events": 4_000,
        "bytes": 200.0,
        "rounds": 2,
        "brokers": "3 brokers",
        "peers": {
            "ours": {**about, "trials": trials([100_000.0, 200_000.0])},
            "slow & steady": {**about, "trials": trials([10_000.0, 40_000.0])},
            "broken": {**about, "trials": [], "failures": [{"round": 1, "reason": "it ended\nlog"}]},
        },
        "absent": {"another": "no network"},
    }


def test_the_page_has_medians_ratios_within_a_round_and_who_was_not_measured() -> None:
    page = throughput_page.section(result())
    assert "{figures}" not in page
    assert "| ours | 150,000 | 100,000 – 200,000 | 1.00 |" in page
    assert "| slow & steady | 25,000 | 10,000 – 40,000 | 0.15 |" in page
    assert "| broken | round 1 failed: it ended |" in page
    assert "| another | absent: no network |" in page
    assert "a \\| b" in page


def test_the_page_says_what_brokers_leave_room_for_on_these_cpus() -> None:
    told = result()
    assert "leave room for 500,000 events/s of a client that takes nothing at all." in throughput_page.text(
        told
    )
    told["peers"]["Kafka Streams"] = told["peers"].pop("slow & steady")
    text = throughput_page.text(told)
    assert "at all, 20.0 × those of Kafka Streams. With the pipeline's own work, 1.0 µs in Python" in text
    assert "they leave room for 400,000, 16.0 × those of Kafka Streams." in text


def test_the_plots_are_well_formed_and_have_a_bar_for_each_that_was_measured() -> None:
    for picture in throughput_page.plots(result()).values():
        texts = [node.text for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]
        assert [text for text in texts if text in ("ours", "slow & steady", "broken")] == [
            "ours",
            "slow & steady",
        ]


def test_nothing_is_measured_from_a_session_that_goes_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers and workers have sessions of their own: one that goes before them starves brokers, and peers
    that are exactly once wait for these."""
    monkeypatch.setattr(priority, "session_nice", lambda: -10)
    with pytest.raises(click.ClickException, match="nice -10"):
        Machine()
    monkeypatch.setattr(priority, "session_nice", lambda: 0)
    Machine()
