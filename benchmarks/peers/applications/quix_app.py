"""Quix Streams, exactly once."""

from __future__ import annotations

from quixstreams import Application
from task import told, transformation


def main() -> None:
    task = told()
    app = Application(
        broker_address=task.servers,
        consumer_group=task.target,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=task.directory,
        loglevel="WARNING",
        consumer_extra_config=task.options["consumer"],
        producer_extra_config=task.options["producer"],
        **task.options["application"],
    )
    source = app.topic(task.source, value_deserializer="bytes", key_deserializer="bytes")
    target = app.topic(task.target, value_serializer="bytes", key_serializer="bytes")
    app.dataframe(source).apply(transformation()).to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
