"""The one assertion that matters, shared by the tests of whatever may break it."""

from __future__ import annotations

from itertools import islice

from installation import Installation
from msgspec.structs import replace

from supervisor.demo.audit import Audit, audit
from supervisor.generate.events import events

__all__ = ["assert_exactly_once", "logins"]


def logins(count: int, bad: float = 0.02, seed: int = 1) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of login events, good and bad, spread over the last day."""
    return list(islice(events(seed, key="user_id", bad=bad, timestamps="day"), count))


def assert_exactly_once(installation: Installation, expected_in: int) -> Audit:
    """Read the topics back: outputs and dead letters are those of the input, aggregates those of both."""
    # What is expected is computed with the plain pipeline, not with one that kills or stalls.
    app = replace(installation.settings.app, pipeline="workers.logins")
    found = audit(replace(installation.settings, app=app), installation.partitions)
    assert found.events_in == expected_in
    assert found.clean, found
    return found
