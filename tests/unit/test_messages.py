"""What goes over a worker's pipe: it arrives as it was sent, and nothing else is taken for it."""

from __future__ import annotations

import msgspec
import pytest

from supervisor.contract import messages
from supervisor.contract.messages import Failed, Found, Owned, Prepare, Prepared, Serve, Standby, Stop

COMMANDS = [
    Serve("olap", 2, (2, 6), (1, 3), 10),
    Serve("probe", 0, (), (), 0),
    Prepare((2, 6)),
    Prepare((2, 6), (1, 3)),
    Stop(0.0),
    Stop(20.5),
]
REPORTS = [
    Standby(),
    Prepared((2, 6)),
    Owned(()),
    Owned(tuple(range(1024))),
    Found(4, "abc", 3, "an-id"),
    Failed("a cause\nof two lines, ü and \x00", "", 22),
    Failed("cause", "remedy", 23, 1, 2**62),
]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_arrives_as_it_was_sent(command: messages.Command) -> None:
    assert messages.decode_command(messages.encode(command)) == command


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: type(report).__name__)
def test_a_report_arrives_as_it_was_sent(report: messages.Report) -> None:
    assert messages.decode_report(messages.encode(report)) == report


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_not_taken_for_a_report(command: messages.Command) -> None:
    with pytest.raises(msgspec.ValidationError):
        messages.decode_report(messages.encode(command))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"type":"Nonsense"}',
        b'{"type":"Stop"}',
        b'{"type":"Stop","seconds":"soon"}',
        b'{"type":"Serve","role":"cook","index":0,"partitions":[],"cpus":[],"nice":0}',
    ],
)
def test_what_is_no_command_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        messages.decode_command(text)
