"""The list of keys, their names in TOML and in the environment, and the guess at what was meant."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.keys import (
    PathSyntaxError,
    docstrings,
    dotted,
    inherited,
    keys,
    locate,
    nearest,
    parse,
    struct_at,
    variable,
    variables,
)
from supervisor.config.load import _SERVICE_LINK, _SUPERVISORD, CONFIG_VARIABLE
from supervisor.contract.settings import Settings


def leaves(tree: dict[str, object], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    tables = {key.path for key in keys() if key.is_table}
    found: set[tuple[str, ...]] = set()
    for name, value in tree.items():
        path = (*above, name)
        found |= leaves(value, path) if isinstance(value, dict) and path not in tables else {path}
    return found


def test_every_field_of_the_structs_is_a_key() -> None:
    assert {key.path for key in keys()} == leaves(msgspec.to_builtins(Settings()))


def test_defaults_are_those_of_the_instance() -> None:
    defaults = {dotted(key.path): key.default for key in keys()}
    assert defaults["topics.input.cleanup_policy"] == "delete"
    assert defaults["topics.aggregates.cleanup_policy"] == "compact"


def test_every_key_and_table_is_explained() -> None:
    silent = [dotted(key.path) for key in keys() if not key.doc]
    tables = {key.path[:depth] for key in keys() for depth in range(1, len(key.path))}
    silent += [
        dotted(path)
        for path in tables
        if len(path) > 1 and not docstrings(struct_at(path[:-1])).get(path[-1])
    ]
    assert silent == []


def test_no_two_keys_share_a_variable() -> None:
    assert len(variables()) == len(keys())
    tables = [name for name, key in variables().items() if key.is_table]
    assert [name for name in variables() for table in tables if name.startswith(f"{table}_")] == []


def test_no_key_has_a_variable_that_belongs_to_others() -> None:
    assert not {*_SUPERVISORD, CONFIG_VARIABLE} & set(variables())
    assert [name for name in variables() if _SERVICE_LINK.search(name)] == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("olap.workers", ("olap", "workers")),
        (' "olap"."workers"', ("olap", "workers")),
        ("kafka.client.sasl.password", ("kafka", "client", "sasl.password")),
        ('kafka.client."sasl.password"', ("kafka", "client", "sasl.password")),
        ("kafka.client.'a\"b'", ("kafka", "client", 'a"b')),
        ("topics.dlq.config.max.message.bytes", ("topics", "dlq", "config", "max.message.bytes")),
    ],
)
def test_a_key_is_read(text: str, path: tuple[str, ...]) -> None:
    assert parse(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", '"a', '"\\x"', "a b", "a=b", '"a"b'])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(PathSyntaxError):
        parse(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_entry_of_a_table_key_is_read_back(name: str) -> None:
    path = ("kafka", "client", name)
    assert parse(dotted(path)) == path
    found = locate(path)
    assert found is not None
    assert found.path == path


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (("olap", "comit_interval_ms"), "olap.commit_interval_ms"),
        (("oalp",), "olap"),
        (("topics", "inputs"), "topics.input"),
        (("olap", "drain_timeout_s"), "runtime.drain_timeout_s"),
        (("workers",), "olap.workers"),
        (("realtime", "jsonl", "max_byte"), "realtime.jsonl.max_bytes"),
    ],
)
def test_the_nearest_key_is_named(wrong: tuple[str, ...], meant: str) -> None:
    found = nearest(wrong)
    assert found is not None
    assert dotted(found) == meant


def test_nothing_is_near_to_nonsense() -> None:
    assert nearest(("qqqqqqqq",)) is None


def test_topics_inherit_from_the_table_above() -> None:
    assert inherited(("topics", "dlq", "partitions")) == ("topics", "partitions")
    assert inherited(("topics", "dlq", "retention_ms")) is None
    assert inherited(("topics", "partitions")) is None


def test_the_variable_of_an_entry() -> None:
    assert variable(("kafka", "client", "sasl.password")) == "SUPERVISOR_KAFKA_CLIENT_SASL_PASSWORD"
