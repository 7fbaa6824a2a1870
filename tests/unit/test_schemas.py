"""The published schemas against what is really written."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from supervisor.contract.board import Board, Role
from supervisor.reporting import status
from supervisor.reporting.journal import Journal

DOCS = Path(__file__).parents[2] / "docs"


def problems(name: str, written: bytes) -> list[str]:
    schema = json.loads((DOCS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(json.loads(written))]


def a_status(tmp_path: Path) -> dict[str, Any]:
    board = Board.create(tmp_path / "board", workers=4, partitions=4)
    header = board.header
    header.seats, header.topic_partitions = 3, 2
    for place, (role, index) in enumerate([(Role.PROBE, 0), (Role.REALTIME, 0), (Role.OLAP, 0)]):
        seat = board.seat(place)
        seat.role, seat.index, seat.worker, seat.cpus = role, index, place + 1, 0b11
    board.assignment(0).seat = 3
    found: dict[str, Any] = json.loads(msgspec.json.encode(status.read(board)))
    return found


def test_a_status_is_as_its_schema_says(tmp_path: Path) -> None:
    found = a_status(tmp_path)
    assert found["realtime"]
    assert {partition["worker"] for partition in found["partitions"]} == {"olap-0", None}
    assert problems("status.schema.json", json.dumps(found).encode()) == []


@pytest.mark.parametrize("table", ["workers", "partitions"])
def test_a_status_that_lacks_something_is_not(tmp_path: Path, table: str) -> None:
    whole = a_status(tmp_path)
    for field in whole[table][0]:
        found = copy.deepcopy(whole)
        del found[table][0][field]
        assert problems("status.schema.json", json.dumps(found).encode()) != []


def test_an_event_is_as_its_schema_says() -> None:
    happening = Journal().publish("died", "olap-1 ended", worker="olap-1", exit_code=-9)
    assert problems("events.schema.json", msgspec.json.encode(happening)) == []
    unknown = msgspec.structs.asdict(happening) | {"event": "exploded"}
    assert problems("events.schema.json", msgspec.json.encode(unknown)) != []
