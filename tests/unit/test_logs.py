"""Log lines: text for people, JSON for machines, and no flood from the Kafka client."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from supervisor.contract import logs
from supervisor.contract.settings import Log


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Log], io.StringIO]]:
    root, kafka = logging.getLogger(), logging.getLogger("kafka")
    handlers, level, filters = root.handlers[:], root.level, kafka.filters[:]

    def logged(settings: Log) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        logs.set_up(settings, "olap-1")
        return stream

    yield logged
    root.handlers[:], kafka.filters[:] = handlers, filters
    root.setLevel(level)
    kafka.setLevel(logging.NOTSET)


def test_a_line_is_a_json_document_where_no_person_reads(logged: Callable[[Log], io.StringIO]) -> None:
    stream = logged(Log())
    logging.getLogger("x").info("offset %d of %s", 7, "p\nq")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["process"], line["message"]) == ("info", "olap-1", "offset 7 of p\nq")


def test_an_exception_stands_in_the_line_it_belongs_to(logged: Callable[[Log], io.StringIO]) -> None:
    stream = logged(Log(format="json"))
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    assert len(stream.getvalue().splitlines()) == 1
    assert "ValueError: why" in json.loads(stream.getvalue())["exception"]


def test_text_names_the_process(logged: Callable[[Log], io.StringIO]) -> None:
    stream = logged(Log(format="text"))
    logging.getLogger("x").warning("look")
    assert stream.getvalue().split()[1:] == ["WARNING", "olap-1", "look"]


def test_of_a_flood_from_the_client_one_line_is_shown_and_the_rest_counted(
    logged: Callable[[Log], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("supervisor.contract.logs.time.monotonic", lambda: now)
    stream = logged(Log(format="text"))
    for _ in range(50):
        logging.getLogger("kafka").error("connection %s", "refused")
    now += 10.0
    logging.getLogger("kafka").error("connection %s", "refused")
    shown = stream.getvalue().splitlines()
    assert len(shown) == 2
    assert shown[1].endswith("connection refused (49 such lines held back)")
