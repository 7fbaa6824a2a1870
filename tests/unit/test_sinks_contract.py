"""What holds for every sink, tried on each of them."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from workers.sinks import Sink
from workers.sinks.jsonl import JsonlSink
from workers.sinks.live import LiveSink
from workers.sinks.stdout import StdoutSink


@dataclass
class Tried:
    sink: Sink
    written: Callable[[], bytes]
    """Everything that has come out of the sink so far."""


def _drain(descriptor: int) -> Callable[[], bytes]:
    os.set_blocking(descriptor, False)
    seen = bytearray()

    def read() -> bytes:
        try:
            while piece := os.read(descriptor, 1 << 20):
                seen.extend(piece)
        except BlockingIOError:
            pass
        return bytes(seen)

    return read


@pytest.fixture(params=["stdout", "jsonl", "live"])
def tried(request, tmp_path) -> Iterator[Tried]:
    if request.param == "stdout":
        reading, writing = os.pipe()
        tried = Tried(StdoutSink(writing), _drain(reading))
        yield tried
        tried.sink.close()
        os.close(reading)
        os.close(writing)
    elif request.param == "jsonl":
        path = tmp_path / "events.jsonl"
        tried = Tried(JsonlSink(path, 1 << 20, 1), path.read_bytes)
        yield tried
        tried.sink.close()
    else:
        sink = LiveSink(tmp_path / "live.sock")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "live.sock"))
            sink.poll()
            yield Tried(sink, _drain(client.fileno()))
        sink.close()


def test_flushed_lines_are_out_in_order_each_with_its_newline(tried):
    tried.sink.write([b'{"n":1}', b'{"n":2}'])
    tried.sink.write([b'{"n":3}'])
    tried.sink.flush()
    assert tried.written() == b'{"n":1}\n{"n":2}\n{"n":3}\n'


def test_lines_are_out_at_once_without_waiting_for_a_flush(tried):
    tried.sink.write([b"{}"])
    assert tried.written() == b"{}\n"


def test_an_empty_batch_writes_nothing(tried):
    tried.sink.write([])
    tried.sink.flush()
    assert tried.written() == b""


def test_a_line_as_large_as_kafka_lets_it_be_comes_out_whole(tried):
    line = b'{"x":"' + b"y" * 1_048_588 + b'"}'
    tried.sink.write([line])
    while len(tried.written()) < len(line) + 1:
        before = len(tried.written())
        tried.sink.poll()
        assert len(tried.written()) > before
    assert tried.written() == line + b"\n"


def test_reopen_and_poll_lose_and_repeat_nothing(tried):
    tried.sink.write([b"1"])
    tried.sink.reopen()
    tried.sink.poll()
    tried.sink.write([b"2"])
    tried.sink.flush()
    assert tried.written() == b"1\n2\n"


def test_close_may_be_repeated(tried):
    tried.sink.write([b"1"])
    tried.sink.close()
    tried.sink.close()
    assert tried.written() == b"1\n"
