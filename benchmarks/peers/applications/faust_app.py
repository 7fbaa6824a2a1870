"""Faust (faust-streaming): one agent, at least once."""

from __future__ import annotations

import sys

import faust
from task import told, transformation

_TASK = told()
_transform = transformation()

app = faust.App(
    _TASK.target,
    broker=";".join(f"aiokafka://{server}" for server in _TASK.servers.split(",")),
    store="memory://",
    datadir=f"{_TASK.directory}/{_TASK.index}",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    **_TASK.options["app"],
)
_source = app.topic(
    _TASK.source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)
_target = app.topic(
    _TASK.target, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)


@app.agent(_source)
async def logins(stream: faust.StreamT) -> None:
    async for value in stream:
        await _target.send(value=_transform(value))


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "--loop", "uvloop", "worker", "--loglevel", "warn", "--without-web"]
    app.main()
