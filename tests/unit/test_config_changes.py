"""What differs between two configurations, and whom it touches."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from supervisor.config.changes import changed, require_changeable, roles_touched
from supervisor.config.keys import dotted, keys
from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.settings import App, Kafka, Olap, Realtime, Runtime, Settings

BEFORE = Settings()


def test_nothing_differs_from_itself() -> None:
    assert changed(BEFORE, Settings()) == []
    assert roles_touched([]) == frozenset()


def test_differences_are_named_by_their_keys() -> None:
    after = replace(
        BEFORE,
        olap=Olap(nice=3, cpus=[1]),
        topics=replace(BEFORE.topics, input=replace(BEFORE.topics.input, name="other")),
        kafka=Kafka(client={"sasl.username": "me"}),
    )
    assert changed(BEFORE, after) == ["kafka.client", "olap.cpus", "olap.nice", "topics.input.name"]


@pytest.mark.parametrize(
    ("after", "roles"),
    [
        (replace(BEFORE, olap=Olap(nice=3)), {"olap"}),
        (replace(BEFORE, olap=Olap(workers=3)), set()),
        (replace(BEFORE, realtime=Realtime(nice=3)), {"realtime"}),
        (replace(BEFORE, realtime=Realtime(enabled=False)), set()),
        (replace(BEFORE, kafka=Kafka(bootstrap_servers="other:1")), {"olap", "realtime", "probe"}),
        (replace(BEFORE, app=App(pipeline="other")), {"olap", "realtime"}),
        (replace(BEFORE, runtime=Runtime(drain_timeout_s=1.0)), set()),
        (replace(BEFORE, runtime=Runtime(probe_interval_s=5.0)), {"probe"}),
    ],
)
def test_who_is_touched_follows_from_the_keys(after: Settings, roles: set[str]) -> None:
    assert roles_touched(changed(BEFORE, after)) == roles


@pytest.mark.parametrize("key", [dotted(key.path) for key in keys()])
def test_every_key_touches_somebody_or_nobody(key: str) -> None:
    assert roles_touched([key]) <= {"olap", "realtime", "probe"}


@pytest.mark.parametrize("key", ["app.name", "runtime.run_dir", "topics.input.name", "topics.dlq.name"])
def test_what_makes_it_another_installation_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationFault, match=f"{key} cannot be changed"):
        require_changeable(["olap.nice", key])


def test_anything_else_of_a_topic_can_be_changed() -> None:
    require_changeable(["topics.input.retention_ms", "topics.partitions", "olap.nice"])
