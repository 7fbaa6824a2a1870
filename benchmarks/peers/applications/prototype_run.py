"""The prototype over all that the topic holds."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition
from task import told

from benchmarks import prototype


def main() -> None:
    task = told()
    consumer = Consumer({"bootstrap.servers": task.servers, "group.id": task.target})
    partitions = consumer.list_topics(task.source, 30).topics[task.source].partitions
    ends = {
        partition: consumer.get_watermark_offsets(TopicPartition(task.source, partition), 30)[1]
        for partition in partitions
    }
    consumer.close()
    prototype.run(task.servers, task.source, task.target, ends)


if __name__ == "__main__":
    main()
