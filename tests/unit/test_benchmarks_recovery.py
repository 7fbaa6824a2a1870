"""The benchmark of recovery: its page, and what its peers are told. What it measures is not tested here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import recovery_page, recovery_peers
from benchmarks.peers.contract import Job, PythonPeer

SVG = "{http://www.w3.org/2000/svg}"
STEPS = ("noticed", "refilled", "served", "fenced", "owned", "fetched", "visible")


def result(*visible: float) -> dict[str, Any]:
    about = {"version": "1", "guarantee": "at least once", "settings": "none"}
    return {
        "machine": {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
        | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "rate": 400,
        "settings": [],
        "load": [1.0, 2.0],
        "stolen_cpus": 0.0,
        "spares": 1,
        "gaps_ms": [
            dict(zip(STEPS, (5.0, 6.0, 7.0, 60.0, 80.0, 81.0, last), strict=True)) for last in visible
        ],
        "reloads": [{"unowned": unowned, "silent": 2 * unowned} for unowned in (60.0, 70.0, 250.0)],
        "events": 1_000,
        "lost": 0,
        "duplicated": 0,
        "other_findings": 0,
        "peers": {
            "plain loop": {**about, "silent_ms": [45_000.0, 44_000.0, 46_000.0]}
            | {"events": 500, "lost": 0, "duplicated": 12}
        },
        "absent": {"Kafka Streams": "no Java"},
    }


def test_the_goals_of_recovery_are_a_median_a_worst_case_and_nothing_lost() -> None:
    assert [goal.reached for goal in recovery_page.goals(result(100.0, 200.0, 900.0))] == [
        True,
        False,
        True,
        False,
    ]
    assert [goal.reached for goal in recovery_page.goals(result(300.0, 300.0))] == [False, True, True, False]


def test_a_reload_is_to_leave_no_partition_without_an_owner_for_longer_than_a_kill_does() -> None:
    found = result(100.0, 100.0)
    assert not recovery_page.goals(found)[-1].reached
    found["reloads"] = [{"unowned": unowned, "silent": 90.0} for unowned in (60.0, 79.0)]
    reload = recovery_page.goals(found)[-1]
    assert (reload.goal, reload.measured) == ("≤ the longest behind a kill, 80 ms", "79 ms")
    assert reload.reached
    assert len(recovery_page.goals(found | {"reloads": []})) == 3


def test_without_a_spare_there_are_no_goals() -> None:
    assert recovery_page.goals(result(100.0) | {"spares": 0}) == []


def test_the_section_of_recovery_has_spreads_steps_and_peers() -> None:
    section = recovery_page.section(result(100.0, 200.0, 900.0))
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert "| SIGKILL → next output visible, ms | 200.0 | 900.0 | 900.0 | 100.0 |" in section
    assert "| rolling reload: a partition without an owner, ms | 70.0 | 250.0 | 250.0 | 60.0 |" in section
    assert "| rolling reload: its longest silence, ms | 140.0 | 500.0 | 500.0 | 120.0 |" in section
    assert "| fenced | 53.0 | 60.0 |" in section
    assert "| plain loop | 45.0 | 44.0 | 46.0 | 3 | 500 | 0 | 12 |" in section
    assert "| Kafka Streams | absent |  | no Java |" in section


def test_the_plot_of_recovery_has_a_bar_for_ours_and_for_each_peer() -> None:
    (picture,) = recovery_page.plots(result(100.0)).values()
    texts = [node.text for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]
    assert [text for text in texts if text in ("ours", "plain loop")] == ["ours", "plain loop"]


KINDS = recovery_peers.DOCUMENTED + recovery_peers.STATIC


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, PythonPeer)])
def test_the_processes_of_a_peer_are_told_apart_in_its_group(kind: type[PythonPeer], tmp_path: Path) -> None:
    peer = kind()
    tasks = [peer._task(Job("s", "in", "out", 4, tmp_path), index, []) for index in range(2)]
    names = [task["options"]["consumer"] for task in tasks]
    assert [name["client.id"] for name in names] == ["process-0", "process-1"]
    members = {name.get("group.instance.id") for name in names}
    assert len(members) == (2 if kind in recovery_peers.STATIC else 1)


def test_peers_have_names_of_their_own() -> None:
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names) == 6
