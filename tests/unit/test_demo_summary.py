"""The demo's verdict: its text, its exit code, and its page in the documentation."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from supervisor.contract.exits import Exit
from supervisor.demo.findings import Audit, Findings
from supervisor.demo.gap import Gap
from supervisor.demo.summary import Summary, exit_code, judged, text

PAGE = Path(__file__).parents[2] / "docs" / "demo.md"
WIDE = 200
GAP = Gap("olap-2", 77, (2,), 4.6, 1076.8, 2237.1, 8)
PASSED = Summary(
    outcome="passed",
    seconds=10.4,
    events_in=2_000,
    events_out=1_972,
    dead_letters=28,
    lost=0,
    duplicated=0,
    aggregates_agree=True,
    acknowledged=2_000,
    gap=GAP,
    restarts=1,
    realtime_p50_ms=2,
    realtime_p99_ms=15,
    regions={"East": 746, "West": 465, "Unknown": 761},
    periods={"night": 1_000, "evening": 972},
)


def test_the_whole_summary_of_a_demo_that_passed() -> None:
    assert text(PASSED, WIDE).splitlines() == [
        "events      2,000 in, 1,972 out, 28 dead letters in 10 s",
        "lost        0",
        "duplicated  0",
        "aggregates  equal the recount",
        "crash       olap-2 killed: noticed after 5 ms, replaced after 1077 ms, output again after 2237 ms",
        "real time   age of an event when shown: p50 2 ms, p99 15 ms",
        "logins      most in the East (38%) and at night (51%), UTC",
        "",
        "PASSED: every event exactly once, as read back from the topics",
    ]
    assert exit_code(PASSED, 0) == Exit.OK


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = text(PASSED, width).splitlines()[:-1]
    assert max(map(len, lines)) <= width
    assert "            " in {line[:12] for line in lines}
    assert " ".join(" ".join(lines).split()) == " ".join(text(PASSED, WIDE).rpartition("\n")[0].split())


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("lost", "lost        1"),
        ("duplicated", "duplicated  1"),
        ("wrong_counts", "aggregates  DIFFER from the recount"),
    ],
)
def test_anything_that_the_audit_finds_fails_it_and_is_shown(kind: str, row: str) -> None:
    found = Audit(events_in=3, outputs=2, dead_letters=1)
    getattr(found, kind).add("partition 2: offset 7 is wrong")
    summary = judged(found)

    assert summary.outcome == "failed"
    assert exit_code(summary, 0) == Exit.FAILED
    lines = text(summary, WIDE).splitlines()
    assert lines[0].startswith("events      3 in, 2 out, 1 dead letters")
    assert row in lines
    assert "  partition 2: offset 7 is wrong" in lines
    assert lines[-1] == "FAILED: what was read back from the topics is not what it ought to be"


def test_an_audit_that_finds_nothing_passes() -> None:
    summary = judged(Audit(events_in=3, outputs=2, dead_letters=1))
    assert (summary.outcome, summary.lost, summary.duplicated) == ("passed", 0, 0)
    assert summary.aggregates_agree is True


def test_examples_of_every_kind_are_kept() -> None:
    audit = Audit(lost=Findings(1, ["a"]), duplicated=Findings(1, ["b"]), wrong_counts=Findings(1, ["c"]))
    assert judged(audit).findings == ["a", "b", "c"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_one_says_that_nothing_was_audited(number: int, code: int) -> None:
    summary = Summary(outcome="interrupted", events_in=0, events_out=0, dead_letters=0)
    assert exit_code(summary, number) == code
    lines = text(summary, WIDE).splitlines()
    assert {"lost        not audited", "duplicated  not audited", "aggregates  not audited"} <= set(lines)
    assert "crash       no worker was killed" in lines
    assert "real time   nothing shown" in lines
    assert "logins      none counted" in lines
    assert lines[-1].startswith("INTERRUPTED")


def test_a_gap_that_had_not_closed_tells_what_had_happened() -> None:
    def crash(gap: Gap) -> str:
        return text(replace(PASSED, gap=gap), WIDE).splitlines()[4]

    assert crash(Gap("olap-1", 7, (1,))) == "crash       olap-1 killed: not noticed yet"
    assert crash(Gap("olap-1", 7, (1,), 4.0)) == "crash       olap-1 killed: noticed after 4 ms"


def test_where_everything_is_kept_and_how_to_go_on_is_said() -> None:
    lines = text(replace(PASSED, directory="/tmp/supervisor-demo-x"), WIDE).splitlines()
    assert lines[-3:] == [
        "kept in /tmp/supervisor-demo-x; to go on with it:",
        "  supervisor cluster start --dir /tmp/supervisor-demo-x/kafka",
        "  supervisor start --config /tmp/supervisor-demo-x/supervisor.toml",
    ]


@pytest.mark.parametrize("struct", [Summary, Gap])
def test_every_field_of_the_json_is_documented_in_order(struct: type[msgspec.Struct]) -> None:
    _, _, below = PAGE.read_text(encoding="utf-8").partition(f"\n### `{struct.__name__}`\n")
    documented = re.findall(r"^\| `(\w+)` \|", below.split("\n### ")[0], flags=re.MULTILINE)
    assert documented == [field.name for field in msgspec.structs.fields(struct)]
