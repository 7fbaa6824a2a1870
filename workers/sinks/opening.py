"""The sinks that the configuration names."""

from __future__ import annotations

import contextlib
from pathlib import Path

from supervisor.contract.rundir import LIVE_SOCKET, socket_path
from supervisor.contract.settings import Jsonl, Realtime
from workers.sinks.base import Sink, SinkFault
from workers.sinks.jsonl import JsonlSink
from workers.sinks.live import LiveSink
from workers.sinks.stdout import StdoutSink

__all__ = ["open_sinks"]


def open_sinks(realtime: Realtime, run_dir: Path) -> list[Sink]:
    """Open each sink of ``realtime.sinks`` once, in that order.

    Raises :class:`SinkFault` for the first that cannot be opened, with the others closed again.
    """
    with contextlib.ExitStack() as opened:
        sinks: list[Sink] = []
        for name in dict.fromkeys(realtime.sinks):
            sink = _open(name, realtime.jsonl, run_dir)
            opened.callback(sink.close)
            sinks.append(sink)
        opened.pop_all()
    return sinks


def _open(name: str, jsonl: Jsonl, run_dir: Path) -> Sink:
    if name == "stdout":
        return StdoutSink()
    if name == "jsonl":
        path = Path(jsonl.path).expanduser() if jsonl.path else run_dir / "events.jsonl"
        return JsonlSink(path, jsonl.max_bytes, jsonl.keep)
    if name == "live":
        return LiveSink(socket_path(run_dir, LIVE_SOCKET))
    raise SinkFault(f"there is no sink named {name!r}", "use stdout, jsonl or live")
