"""What is written to the aggregates topic."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

import msgspec
import pytest
from confluent_kafka import Producer
from simulated_brokers import SimulatedBrokers

from supervisor.contract.settings import Kafka, Settings
from workers import aggregates
from workers.aggregates import Aggregates, records, window_name
from workers.olap.windows import WindowedCounts
from workers.pipeline import Key


def add(counts: WindowedCounts, keys: list[Key | None], record_minute: int) -> None:
    counts.add(keys, record_minute, lambda: [record_minute] * len(keys))


@pytest.mark.parametrize(
    ("window", "name"),
    [
        (None, "total"),
        (0, "1970-01-01 00:00"),
        (-1, "1969-12-31 23:59"),
        (28_241_325, "2023-09-12 00:45"),
        (-62_135_596_800 // 60, "0001-01-01 00:00"),
        (253_402_300_799 // 60, "9999-12-31 23:59"),
    ],
)
def test_a_window_is_named_by_its_minute_in_utc(window: int | None, name: str) -> None:
    assert window_name(window) == name


def test_each_count_is_a_record_of_its_own_in_the_total_and_in_its_minute() -> None:
    counts = WindowedCounts(3_600)
    add(counts, [(28_241_325, "East", 4), (28_241_325, "East", 4), (None, "West", None)], 28_241_325)
    assert dict(records(counts, 3, ("region", "time_flg"))) == {
        b'{"partition":3,"window":"total","dimensions":{"region":"East","time_flg":4}}': (
            b'{"partition":3,"window":"total","dimensions":{"region":"East","time_flg":4},"count":2}'
        ),
        b'{"partition":3,"window":"total","dimensions":{"region":"West","time_flg":null}}': (
            b'{"partition":3,"window":"total","dimensions":{"region":"West","time_flg":null},"count":1}'
        ),
        b'{"partition":3,"window":"2023-09-12 00:45","dimensions":{"region":"East","time_flg":4}}': (
            b'{"partition":3,"window":"2023-09-12 00:45","dimensions":{"region":"East","time_flg":4},'
            b'"count":2}'
        ),
    }


def test_only_counts_that_changed_are_written_again() -> None:
    counts = WindowedCounts(3_600)
    add(counts, [(None, "East"), (None, "West")], 0)
    counts.written()
    assert list(records(counts, 0, ("region",))) == []
    add(counts, [(None, "East")], 0)
    (record,) = records(counts, 0, ("region",))
    assert msgspec.json.decode(record[1]) == {
        "partition": 0,
        "window": "total",
        "dimensions": {"region": "East"},
        "count": 2,
    }


def test_partitions_never_share_a_key() -> None:
    def keys(partition: int) -> set[bytes]:
        counts = WindowedCounts(3_600)
        add(counts, [(1, "East"), (2, "West")], 2)
        return {key for key, _ in records(counts, partition, ("region",))}

    assert len(keys(0)) == 4
    assert not keys(0) & keys(1)


def test_a_key_that_lacks_a_dimension_is_an_error_and_not_a_shorter_record() -> None:
    counts = WindowedCounts(3_600)
    add(counts, [(1, "East")], 1)
    with pytest.raises(ValueError, match="argument 2 is"):
        list(records(counts, 0, ("region", "time_flg")))


def reader(bootstrap: str) -> Aggregates:
    return Aggregates(Settings(kafka=Kafka(bootstrap_servers=bootstrap, client={"log_level": 0})), 1)


def test_a_clock_that_is_set_does_not_end_the_reading(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Leaping(datetime):
        hours = 0

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Leaping:
            cls.hours += 1
            return super().now(tz) + timedelta(hours=cls.hours)

    topic = Settings().topics.aggregates.name
    brokers.create_topic(topic, 1)
    counts = WindowedCounts(3_600)
    add(counts, [(None, "East")], 0)
    producer = Producer({"bootstrap.servers": brokers.bootstrap, "log_level": 0})
    for key, value in records(counts, 0, ("region",)):
        producer.produce(topic, value, key, partition=0)
    producer.flush()
    monkeypatch.setattr(aggregates, "datetime", Leaping)
    ours = reader(brokers.bootstrap)
    ours.read_to_end()
    assert ours.by("region") == {"East": 1}
    ours.close()


def test_what_cannot_be_read_to_its_end_is_given_up_in_time() -> None:
    ours = reader("127.0.0.1:1")
    with pytest.raises(TimeoutError, match=r"not read to its end within 0\.3 s"):
        ours.read_to_end(0.3)
    ours.close()
