"""Supervisors over puppets, for the tests of supervision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.troupe import Troupe

Playing = Callable[..., Troupe]


@pytest.fixture
def playing() -> Iterator[Playing]:
    """Makes troupes; those left at the end are killed."""
    troupes: list[Troupe] = []

    def play(script: dict[str, Any] | None = None, toml: str = "", **more: Any) -> Troupe:
        troupes.append(Troupe(script, toml=toml, **more))
        return troupes[-1]

    yield play
    for troupe in troupes:
        troupe.close()
