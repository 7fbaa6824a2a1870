"""The soak: its events, the account of what came of them, and its page."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import sender, soak_page
from benchmarks.numbered import Mark, Numbered, mark_of
from benchmarks.readback import Account
from benchmarks.timeline import Track, timeline

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def events() -> Numbered:
    return Numbered(1_760_000_000_000_000_000)


def output(events: Numbered, partition: int, number: int, **change: object) -> bytes:
    return json.dumps(events.output(Mark(partition, number, 5)) | change).encode()


def test_an_event_and_its_output_say_which_one_they_are(events: Numbered) -> None:
    marks = [Mark(number % 4, number, 10**15 + number) for number in range(1_000)]
    assert [mark_of(events.value(mark)) for mark in marks] == marks
    assert mark_of(output(events, 3, 7)) == Mark(3, 7, 5)
    assert mark_of(b'{"device_id":"somebody else"}') is None


def test_a_whole_output_in_any_order_has_nothing_lost_duplicated_or_wrong(events: Numbered) -> None:
    account = Account([200, 100], events)
    for partition, count in ((1, 100), (0, 200)):
        for number in reversed(range(count)):
            account.add(output(events, partition, number))
    told = account.told()
    assert (told["events"], told["outputs"], told["compared"]) == (300, 300, 3)
    assert (told["lost"], told["duplicated"], told["wrong"]) == (0, 0, 0)


def test_a_duplicate_does_not_stand_for_one_that_is_lost(events: Numbered) -> None:
    account = Account([3], events)
    for number in (0, 0, 1):
        account.add(output(events, 0, number))
    assert (account.lost, account.duplicated) == (1, 1)


def test_an_output_of_no_event_or_with_another_content_is_wrong(events: Numbered) -> None:
    account = Account([1], events)
    account.add(b"{}")
    account.add(output(events, 0, 1))
    account.add(output(events, 9, 0))
    account.add(output(events, 0, 0, region="Nowhere"))
    assert account.wrong == 4


def result() -> dict[str, Any]:
    held = {name: [10.0, 10.0, 12.0] for name in ("uss_mb", "rss_mb", "descriptors", "threads")}
    return {
        "machine": {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
        | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "minutes": 30.0,
        "rate": 100,
        "warm_up_s": 60.0,
        "kill_every_s": 60.0,
        "sample_every_s": 5.0,
        "settings": [],
        "sender": {"sent": [500, 499], "seconds": 10.0, "latest_ms": 3.0, "cpu_s": 1.0},
        "committed": 990,
        "cpus": {"sender": 0.1, "product": 0.5},
        "kills": [
            {"s": 5.0, "worker": "olap-0", "served_ms": 200.0},
            {"s": 9.0, "worker": "realtime-0", "served_ms": None},
        ],
        "moments_s": [5.0, 10.0, 15.0],
        "held": dict.fromkeys(("supervisor", "olap", "realtime", "others"), held),
        "lag": [1, 2, 3],
        "visible_ms": {"p50": [50.0, None, 60.0], "p99": [90.0, None, 95.0], "worst": [99.0, None, 400.0]},
        "realtime_ms": {"p50": [1, 1, 0], "p99": [5, 6, 5]},
        "drained_s": 0.5,
        "disk_bytes_an_event": 700,
        "account": {"events": 990, "outputs": 990, "lost": 0, "duplicated": 0, "compared": 9, "wrong": 0},
        "miscounted": 0,
    }


def test_a_drift_is_of_medians_and_leaves_out_what_is_not_there() -> None:
    assert soak_page.drift([1.0, 9.0, 1.0, None, 5.0, 2.0, 3.0]) == (5.0, 2.5)
    assert soak_page.drift([None]) == (0.0, 0.0)


def test_the_goals_of_the_soak_say_what_grew_and_what_did_not() -> None:
    reached = {goal.what.partition(": ")[2]: goal.reached for goal in soak_page.goals(result())}
    assert reached == {
        "events/s committed": True,
        "lost, duplicated or wrong, of 990": True,
        "memory (USS), last third to first": False,
        "descriptors, last third to first": False,
        "due → visible, median, last third to first": True,
    }


def test_a_rate_that_was_not_held_and_a_lost_event_fail_their_goals() -> None:
    found = result()
    found["sender"]["seconds"] = 10.2
    found["account"]["lost"] = 1
    assert [goal.reached for goal in soak_page.goals(found)][:2] == [False, False]


def test_the_section_of_the_soak_has_its_figures_and_the_kills() -> None:
    section = soak_page.section(result())
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert "| an OLAP worker | 200 | 200 | 1 of 1 |" in section
    assert "990 events: 0 lost, 0 duplicated" in section
    for name in soak_page.plots(result()):
        assert f"(plots/{name})" in section


def test_the_plots_of_the_soak_are_well_formed_and_mark_each_kill() -> None:
    for picture in soak_page.plots(result()).values():
        paths = list(ElementTree.fromstring(picture).iter(f"{SVG}path"))
        assert len([path for path in paths if path.get("stroke-opacity")]) == 2


def test_a_line_is_broken_where_there_is_no_value() -> None:
    picture = timeline("t", "n", [0.0, 1.0, 2.0], [Track("l", [1.0, None, 2.0])])
    drawn = [path.get("d") or "" for path in ElementTree.fromstring(picture).iter(f"{SVG}path")]
    assert [d.count("M") for d in drawn if "L" not in d and "H" not in d] == [2]


def test_a_logarithmic_scale_has_a_place_for_what_is_not_positive() -> None:
    picture = timeline("t", "n", [0.0, 1.0], [Track("l", [0.0, 100.0])], logarithmic=True)
    assert "nan" not in picture


class FullProducer:
    """Has room for three more events at a time."""

    def __init__(self, _settings: dict[str, Any]) -> None:
        self.taken: dict[int, list[Mark | None]] = {}

    def poll(self, _timeout: float) -> None:
        return

    def flush(self, _timeout: float) -> int:
        return 0

    def produce_batch(self, _topic: str, records: list[dict[str, Any]], *, partition: int) -> None:
        self.taken.setdefault(partition, []).extend(mark_of(record["value"]) for record in records[:3])
        for record in records[3:]:
            record["_error"] = "queue full"


def test_the_sender_numbers_the_events_of_each_partition_and_leaves_out_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "Producer", FullProducer)
    sending = sender.Sender("", "topic", 2, 1_000.0, 0)
    for turn in range(4):
        sending._send(turn % 2, turn)
    assert sending.sent == [50, 50]
    for partition, marks in sending._producer.taken.items():
        assert [(mark.partition, mark.number) for mark in marks if mark] == [
            (partition, number) for number in range(50)
        ]
