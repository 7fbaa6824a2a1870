"""What people and machines are shown of a plan."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from supervisor.topics.model import (
    Broker,
    ChangeConfig,
    ConfigChange,
    CreateTopic,
    ExtendTopic,
    Observed,
    PlacementWarning,
    Plan,
    Refusal,
    ReplicationDrift,
)
from supervisor.topics.render import document, lines, sentence

OBSERVED = Observed("abc", (Broker(1, "localhost", 9092),), {})
CREATE = CreateTopic(
    section="topics.input",
    topic="logins",
    partitions=1,
    replication_factor=3,
    config={"retention.ms": "5"},
)
EXTEND = ExtendTopic(section="topics.output", topic="out", before=4, after=8)
CHANGE = ChangeConfig(
    section="topics.dlq",
    topic="dlq",
    changes=(ConfigChange(key="retention.ms", before="1", after="2"),),
)
WHOLE = Plan(
    actions=(CREATE, EXTEND, CHANGE),
    drift=(ReplicationDrift(setting="topics.replication_factor", topic="dlq", declared=3, observed=1),),
    refusals=(
        Refusal(kind="shrink", topic="x", setting="topics.partitions", cause="too few", remedy="more"),
    ),
    warnings=(PlacementWarning(kind="offline", topic="out", partitions=(0,), text="no leader"),),
)


def test_each_line_bears_the_mark_of_its_kind() -> None:
    shown = [(line.mark, line.text) for line in lines(WHOLE, OBSERVED)]
    assert shown[0] == ("", "cluster abc, 1 live broker")
    assert ("+", "create topic logins: 1 partition, replication factor 3") in shown
    assert ("+", "    retention.ms = 5") in shown
    assert ("~", "extend topic out: 4 -> 8 partitions") in shown
    assert ("~", "    retention.ms: 1 -> 2") in shown
    assert ("!", "topic dlq has replication factor 1, declared 3") in shown
    assert ("x", "refused: too few") in shown
    assert ("?", "warning: no leader") in shown
    assert shown[-1][1] == (
        "1 to create, 1 to extend, 1 to configure, 1 with another replication factor, 1 refused"
    )


def test_an_empty_plan_says_that_there_is_nothing_to_do() -> None:
    empty = Plan(actions=(), drift=(), refusals=(), warnings=())
    assert lines(empty, OBSERVED)[-1].text == "nothing to do: the topics are as declared"


def test_what_was_done_is_told_in_the_past() -> None:
    assert [sentence(action, done=True).split(":")[0] for action in (CREATE, EXTEND, CHANGE)] == [
        "created topic logins",
        "extended topic out",
        "configured topic dlq",
    ]


def test_the_document_is_what_the_documentation_shows() -> None:
    text = (Path(__file__).parents[2] / "docs" / "topics.md").read_text()
    example = text.split("```json\n")[1].split("```")[0]
    assert json.loads(msgspec.json.encode(document(WHOLE, OBSERVED))) == json.loads(example)
