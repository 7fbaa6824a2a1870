"""Values that are fine one by one and impossible together."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Set
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from supervisor.config.keys import dotted, inherited
from supervisor.contract.settings import Settings, Topic, TopicName

__all__ = ["Contradiction", "contradictions"]


class Contradiction(Struct, frozen=True):
    """``keys`` are the keys involved, the one to correct first."""

    keys: tuple[str, ...]
    problem: str
    hint: str = ""


def contradictions(settings: Settings, cpus: Set[int] | None = None) -> list[Contradiction]:
    """Every contradiction in ``settings``. ``cpus`` are those of the machine; None leaves them out of it."""
    return [
        *_workers_beyond_partitions(settings),
        *_partitions_unlike_the_input(settings),
        *_replicas(settings),
        *_names_twice(settings),
        *_not_compacted(settings),
        *_topic_config(settings),
        *_commit_interval(settings),
        *_client_properties(settings),
        *_listed_twice(settings),
        *_hooks(settings),
        *_homes(settings),
        *(_absent_cpus(settings, cpus) if cpus is not None else ()),
    ]


def _workers_beyond_partitions(settings: Settings) -> Iterator[Contradiction]:
    workers = settings.olap.workers
    partitions = settings.topics.declared()["input"].partitions
    assert partitions is not None
    if workers > partitions:
        key = _in_force(settings, "input", "partitions")
        yield Contradiction(
            ("olap.workers", key),
            f"olap.workers = {workers} is above the number of partitions of the input, {key} = {partitions}",
            "a partition has one worker at a time",
        )


def _partitions_unlike_the_input(settings: Settings) -> Iterator[Contradiction]:
    declared = settings.topics.declared()
    of_input = _in_force(settings, "input", "partitions")
    for name, topic in declared.items():
        if topic.partitions != declared["input"].partitions:
            key = _in_force(settings, name, "partitions")
            yield Contradiction(
                (key, of_input) if key.count(".") > 1 else (of_input, key),
                f"the {name} topic has another number of partitions than the input topic: "
                f"{key} = {topic.partitions}, {of_input} = {declared['input'].partitions}",
                f"the worker of the input's partition p writes partition p of the {name} topic",
            )


def _replicas(settings: Settings) -> Iterator[Contradiction]:
    seen = set()
    for name, topic in settings.topics.declared().items():
        at_least, copies = topic.min_insync_replicas, topic.replication_factor
        assert at_least is not None
        assert copies is not None
        keys = (
            _in_force(settings, name, "min_insync_replicas"),
            _in_force(settings, name, "replication_factor"),
        )
        if at_least > copies and keys not in seen:
            seen.add(keys)  # one mistake in [topics] is not five
            yield Contradiction(
                keys,
                f"{keys[0]} = {at_least} is above {keys[1]} = {copies}",
                "no record could ever be written",
            )


def _in_force(settings: Settings, topic: TopicName, field: str) -> str:
    """The key that decides ``field`` of ``topic``: its own, or the one it inherits from."""
    path: tuple[str, ...] = ("topics", topic, field)
    if getattr(getattr(settings.topics, topic), field) is None:
        path = inherited(path) or path
    return dotted(path)


def _names_twice(settings: Settings) -> Iterator[Contradiction]:
    first: dict[str, TopicName] = {}
    for name, topic in settings.topics.declared().items():
        # Kafka refuses names that differ only in a dot for an underscore: their metrics would collide.
        other = first.setdefault(topic.name.replace(".", "_"), name)
        if other != name:
            theirs = getattr(settings.topics, other).name
            yield Contradiction(
                (f"topics.{name}.name", f"topics.{other}.name"),
                f'topics.{name}.name = "{topic.name}" and topics.{other}.name = "{theirs}" are '
                + ("the same topic" if theirs == topic.name else "the same to Kafka, which takes . for _"),
                "each needs a topic of its own",
            )


def _not_compacted(settings: Settings) -> Iterator[Contradiction]:
    """The changelog is read back at start, so age must not remove a key's last record; aggregates may age."""
    for name, topic, allowed in (
        ("aggregates", settings.topics.aggregates, ("compact", "compact,delete")),
        ("changelog", settings.topics.changelog, ("compact",)),
    ):
        if topic.cleanup_policy not in allowed:
            key = f"topics.{name}.cleanup_policy"
            yield Contradiction(
                (key,),
                f'{key} = "{topic.cleanup_policy}" would lose the last value of a key',
                'it must be "compact"',
            )


def _topic_config(settings: Settings) -> Iterator[Contradiction]:
    own = {field.encode_name.replace("_", "."): field.encode_name for field in msgspec.structs.fields(Topic)}
    for name in settings.topics.declared():
        for entry in getattr(settings.topics, name).config:
            if entry in own:
                yield _property_of_ours(("topics", name, "config", entry), f"set topics.{name}.{own[entry]}")


def _commit_interval(settings: Settings) -> Iterator[Contradiction]:
    timeout = settings.olap.transaction_timeout_ms
    for key in ("commit_interval_ms", "backlog_interval_ms"):
        interval = getattr(settings.olap, key)
        if interval >= timeout:
            yield Contradiction(
                (f"olap.{key}", "olap.transaction_timeout_ms"),
                f"olap.{key} = {interval} is not below olap.transaction_timeout_ms = {timeout}",
                "the broker would end every transaction before its commit",
            )


_AUTHENTICATION = "sasl.oauthbearer.metadata.authentication.type"

# Properties of librdkafka on which the guarantees of the workers rest -> what to do instead.
_OURS = {
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "transactional.id": "it is made of app.name, topic and partition; set app.name",
    "transaction.timeout.ms": "set olap.transaction_timeout_ms",
    "group.id": "it is made of app.name; set app.name",
    "group.instance.id": "workers are assigned partitions and join no group",
    "group.protocol": "workers are assigned partitions and join no group",
    "group.remote.assignor": "workers are assigned partitions and join no group",
    "partition.assignment.strategy": "workers are assigned partitions and join no group",
    "enable.auto.commit": "offsets are committed in the transaction; set olap.commit_interval_ms",
    "auto.commit.enable": "offsets are committed in the transaction; set olap.commit_interval_ms",
    "auto.commit.interval.ms": "set olap.commit_interval_ms or realtime.commit_interval_ms",
    "enable.auto.offset.store": "offsets are committed in the transaction",
    "offset.store.method": "offsets are committed in the transaction",
    "auto.offset.reset": "set olap.on_lost_offsets or realtime.start",
    "isolation.level": "workers read committed records only",
    "enable.idempotence": "exactly once needs it; it is always on",
    "acks": 'exactly once needs all; it is always "all"',
    "request.required.acks": 'exactly once needs all; it is always "all"',
    "enable.partition.eof": "workers depend on it",
    "delivery.report.only.error": "workers depend on it",
    "logger": "the client's lines are in the log of its process",
}


def _client_properties(settings: Settings) -> Iterator[Contradiction]:
    yield from _lingering(settings)
    if settings.kafka.client.get(_AUTHENTICATION) == "aws_iam":
        yield Contradiction(
            (dotted(("kafka", "client", _AUTHENTICATION)),),
            f"{_AUTHENTICATION} = aws_iam is not there for the exactly-once producer: librdkafka leaves it "
            "to a callback in Python",
            "use sasl.oauthbearer.method = oidc with a token endpoint, SCRAM, or a client certificate",
        )
    for name in settings.kafka.client:
        if name in _OURS:
            yield _property_of_ours(("kafka", "client", name), _OURS[name])
        elif name.endswith("_cb"):
            yield _property_of_ours(
                ("kafka", "client", name), "a callback cannot be given in a configuration"
            )


def _lingering(settings: Settings) -> Iterator[Contradiction]:
    """librdkafka tells this only when the first record is produced."""
    timeout = settings.olap.transaction_timeout_ms
    for name in ("linger.ms", "queue.buffering.max.ms"):
        linger = settings.kafka.client.get(name, 0)
        with contextlib.suppress(ValueError):  # what is no number is refused elsewhere
            if float(linger) >= timeout:
                key = dotted(("kafka", "client", name))
                yield Contradiction(
                    (key, "olap.transaction_timeout_ms"),
                    f"{key} = {linger} is not below olap.transaction_timeout_ms = {timeout}",
                    "a record would wait for longer than its transaction may take",
                )


def _property_of_ours(path: tuple[str, ...], instead: str) -> Contradiction:
    key = dotted(path)
    return Contradiction((key,), f"{key} must not be set here", instead)


def _listed_twice(settings: Settings) -> Iterator[Contradiction]:
    lists: dict[str, list[str]] = {
        "olap.cpus": [str(cpu) for cpu in settings.olap.cpus],
        "realtime.cpus": [str(cpu) for cpu in settings.realtime.cpus],
        "realtime.sinks": list(settings.realtime.sinks),
    }
    for key, items in lists.items():
        twice = sorted({item for item in items if items.count(item) > 1})
        if twice:
            yield Contradiction((key,), f"{key} lists {', '.join(twice)} more than once", "list each once")


def _hooks(settings: Settings) -> Iterator[Contradiction]:
    hooks = settings.hooks
    if not _is_web_address(hooks.webhook):
        # The address is not repeated: it may hold a token.
        yield Contradiction(
            ("hooks.webhook",), "hooks.webhook is no address of a web server", "as in https://host/path"
        )
    try:
        words = shlex.split(hooks.command)
    except ValueError as error:
        reason = str(error).lower()
        yield Contradiction(
            ("hooks.command",), f"hooks.command is no command: {reason}", "quote as in a shell"
        )
    else:
        if hooks.command and not words:
            yield Contradiction(("hooks.command",), "hooks.command is blank", 'empty is ""')


def _homes(settings: Settings) -> Iterator[Contradiction]:
    """``~`` is somebody's home directory. In a container there may be none: no $HOME, and no such user."""
    paths = {
        "runtime.run_dir": settings.runtime.run_dir,
        "log.directory": settings.log.directory,
        "realtime.jsonl.path": settings.realtime.jsonl.path,
    }
    for key, path in paths.items():
        try:
            Path(path).expanduser()
        except RuntimeError:
            yield Contradiction((key,), f"there is no home directory for {path!r}", "write the path out")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # A port that is none is found out by looking at it.
        return not text or (parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        return False


def _absent_cpus(settings: Settings, cpus: Set[int]) -> Iterator[Contradiction]:
    for key, wanted in (("olap.cpus", settings.olap.cpus), ("realtime.cpus", settings.realtime.cpus)):
        absent = sorted(set(wanted) - cpus)
        if absent:
            yield Contradiction(
                (key,),
                f"{key} lists {', '.join(map(str, absent))}, which this process may not use",
                f"it may use {', '.join(map(str, sorted(cpus)))}",
            )
