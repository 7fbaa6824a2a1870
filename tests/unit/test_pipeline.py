"""A user's pipeline module is loaded, or refused with what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.contract.exits import Exit
from supervisor.contract.faults import ConfigurationFault
from workers import logins, pipeline

GOOD = """
import msgspec
DIMENSIONS = ["page"]
class Event(msgspec.Struct):
    page: str
def enrich(event):
    return event, (None, event.page)
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the one module of a test where it can be imported; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def module(text: str) -> str:
        (tmp_path / "a_users_pipeline.py").write_text(text)
        return "a_users_pipeline"

    yield module
    sys.modules.pop("a_users_pipeline", None)


def refusal(name: str) -> ConfigurationFault:
    with pytest.raises(ConfigurationFault) as caught:
        pipeline.load(name)
    assert caught.value.exit_code is Exit.CONFIGURATION
    return caught.value


def test_the_login_pipeline_is_there() -> None:
    loaded = pipeline.load("workers.logins")
    assert (loaded.name, loaded.event, loaded.enrich) == ("workers.logins", logins.Event, logins.enrich)
    assert loaded.dimensions == ("region", "time_flg")


def test_a_users_module_is_loaded_by_its_name(write: Write) -> None:
    loaded = pipeline.load(write(GOOD))
    assert loaded.dimensions == ("page",)
    assert loaded.enrich(loaded.event(page="a")) == (loaded.event(page="a"), (None, "a"))


@pytest.mark.parametrize(
    "name", ["no_such_module", "workers.no_such_module", "workers.logins.deeper", "", ".logins"]
)
def test_a_module_that_is_not_there_is_named(name: str) -> None:
    fault = refusal(name)
    assert repr(name) in fault.cause
    assert "app.pipeline" in fault.remedy


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemError('mine')", "SystemError: mine"),
    ],
)
def test_a_module_that_fails_to_import_tells_its_error(write: Write, text: str, reason: str) -> None:
    assert reason in refusal(write(text)).cause


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ([], "lacks Event and DIMENSIONS and enrich"),
        (["Event"], "lacks DIMENSIONS and enrich"),
        (["Event", "DIMENSIONS"], "lacks enrich"),
        (["DIMENSIONS", "enrich"], "lacks Event"),
    ],
)
def test_what_a_module_lacks_is_named(write: Write, parts: list[str], missing: str) -> None:
    text = "\n".join(f"{part} = 1" for part in parts)
    assert refusal(write(text)).cause.endswith(missing)


@pytest.mark.parametrize("event", ["dict", "object", "1", "None", "__import__('msgspec')"])
def test_an_event_that_is_no_struct_is_refused(write: Write, event: str) -> None:
    assert "Event is not a msgspec.Struct" in refusal(write(f"{GOOD}\nEvent = {event}")).cause
