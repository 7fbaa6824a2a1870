"""Loading: precedence, origins, and every mistake in one go, from any file, environment and flags."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import inspect as types

from supervisor.config.keys import Path as KeyPath
from supervisor.config.keys import dotted, keys, variable
from supervisor.config.load import Flag, Loaded, find_file, load, read
from supervisor.config.mistakes import MistakenConfiguration
from supervisor.config.rules import contradictions
from supervisor.config.values import literal
from supervisor.contract.exits import Exit
from supervisor.contract.settings import Settings

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def fitting(type_: types.Type) -> st.SearchStrategy[Any]:
    """Values that fit a key of ``type_``."""
    match type_:
        case types.Metadata():
            return fitting(type_.type)
        case types.BoolType():
            return st.booleans()
        case types.IntType():
            low = -(2**63) if type_.ge is None else type_.ge
            return st.integers(low, 2**63 - 1 if type_.le is None else type_.le)
        case types.FloatType():
            least = type_.gt if type_.gt is not None else type_.ge
            return st.floats(
                least, type_.le, exclude_min=type_.gt is not None, allow_nan=False, allow_infinity=False
            )
        case types.StrType():
            if type_.pattern:
                return st.from_regex(r"\A[a-z][a-z0-9._-]{0,50}\Z")
            return _TEXT.filter(lambda text: len(text) >= (type_.min_length or 0))
        case types.LiteralType():
            return st.sampled_from(type_.values)
        case types.ListType():
            return st.lists(fitting(type_.item_type), max_size=4)
        case types.UnionType():
            return st.one_of(
                [fitting(option) for option in type_.types if not isinstance(option, types.NoneType)]
            )
    raise AssertionError(type_)


@st.composite
def trees(draw: st.DrawFn) -> dict[KeyPath, Any]:
    """Some keys with fitting values. They may contradict each other."""
    values: dict[KeyPath, Any] = {}
    for key in draw(st.lists(st.sampled_from(keys()), unique_by=lambda key: key.path)):
        if key.is_table:
            for name in draw(st.lists(_TEXT, unique=True, max_size=3)):
                values[*key.path, name] = draw(fitting(key.entry(name).type))
        else:
            values[key.path] = draw(fitting(key.type))
    return values


def to_toml(values: dict[KeyPath, Any]) -> str:
    """A file with one line for each value, table by table."""
    by_table: dict[KeyPath, list[str]] = {}
    for path, value in values.items():
        by_table.setdefault(path[:-1], []).append(f"{literal(path[-1])} = {literal(value)}\n")
    return "".join(f"[{dotted(table)}]\n" + "".join(lines) for table, lines in by_table.items())


SCALAR_KEYS = [key for key in keys() if not key.is_table]


SCRATCH = tempfile.TemporaryDirectory(prefix="supervisor-test-")


@contextlib.contextmanager
def file_with(content: str | bytes) -> Iterator[Path]:
    """For tests with many examples each, which cannot use tmp_path."""
    descriptor, name = tempfile.mkstemp(suffix=".toml", dir=SCRATCH.name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    try:
        yield Path(name)
    finally:
        Path(name).unlink()


def reading(
    text: str | bytes, environ: Mapping[str, str] | None = None, flags: Sequence[Flag] = ()
) -> Loaded:
    with file_with(text) as file:
        return read(file, environ or {}, flags)


def mistakes(text: str | bytes = "", environ: Mapping[str, str] | None = None, *flags: Flag) -> list[str]:
    """Every mistake, with the file's path shortened to its name's ending."""
    with file_with(text) as file:
        found = read(file, environ or {}, flags).mistakes
        return [str(mistake).replace(str(file), "F") for mistake in found]


def at(tree: object, path: Sequence[str]) -> Any:
    value: Any = msgspec.to_builtins(tree)
    for part in path:
        value = value[part]
    return value


def test_nothing_given_is_the_defaults() -> None:
    loaded = load(None, {})
    assert loaded.settings == Settings()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert loaded.file is None


@given(trees())
@example({("topics", "input", "config", "least"): -(2**63), ("topics", "input", "config", "most"): 2**63 - 1})
def test_any_values_written_to_a_file_are_loaded(values: dict[KeyPath, Any]) -> None:
    text = to_toml(values)
    loaded = reading(text)
    assert len(loaded.mistakes) == len(contradictions(loaded.settings))
    for path, value in values.items():
        assert at(loaded.settings, path) == value
        line = text[: text.index(f"[{dotted(path[:-1])}]\n")].count("\n") + 1
        same_table = [other for other in values if other[:-1] == path[:-1]]
        assert loaded.origins[dotted(path)].line == line + 1 + same_table.index(path)
    untouched = {key.path for key in SCALAR_KEYS} - set(values)
    assert all(at(loaded.settings, path) == at(Settings(), path) for path in untouched)
    assert all(loaded.origins[dotted(path)].kind == "default" for path in untouched)


SOURCES = ("file", "environment", "flag")


@given(
    st.dictionaries(
        st.sampled_from(["olap.nice", "olap.workers", "log.level"]), st.sets(st.sampled_from(SOURCES))
    )
)
def test_each_key_takes_the_highest_of_its_sources(given_by: dict[str, set[str]]) -> None:
    value = {"file": 1, "environment": 2, "flag": 3}
    level = {"file": "debug", "environment": "warning", "flag": "error"}

    def of(key: str, source: str) -> Any:
        return (level if key == "log.level" else value)[source]

    paths = {key: tuple(key.split(".")) for key in given_by}
    text = to_toml({paths[key]: of(key, "file") for key, sources in given_by.items() if "file" in sources})
    environ = {
        variable(paths[key]): str(of(key, "environment"))
        for key, sources in given_by.items()
        if "environment" in sources
    }
    flags = [Flag(key, of(key, "flag")) for key, sources in given_by.items() if "flag" in sources]
    loaded = reading(text, environ, flags)
    assert loaded.mistakes == ()
    for key, sources in given_by.items():
        highest = max(sources, key=SOURCES.index, default="default")
        expected = at(Settings(), paths[key]) if highest == "default" else of(key, highest)
        assert at(loaded.settings, paths[key]) == expected
        assert loaded.origins[key].kind == highest


def test_an_entry_of_a_passed_through_table_takes_the_highest_of_its_sources() -> None:
    text = '[kafka.client]\n"client.rack" = "a"\n"client.id" = "a"\n'
    loaded = reading(text, {"SUPERVISOR_KAFKA_CLIENT_CLIENT_RACK": "b"})
    assert loaded.settings.kafka.client == {"client.rack": "b", "client.id": "a"}
    loaded = reading(
        text, {"SUPERVISOR_KAFKA_CLIENT_CLIENT_RACK": "b"}, [Flag("kafka.client.client.rack", "c")]
    )
    assert loaded.settings.kafka.client == {"client.rack": "c", "client.id": "a"}


def test_origins_name_line_variable_and_flag() -> None:
    with file_with("\n[olap]\nnice = 3\n") as file:
        loaded = load(
            file,
            {"SUPERVISOR_LOG_LEVEL": "debug"},
            [Flag("olap.workers", "2", "--olap-workers")],
        )
        assert str(loaded.origins["olap.nice"]) == f"{file}:3"
        assert str(loaded.origins["log.level"]) == "SUPERVISOR_LOG_LEVEL"
        assert str(loaded.origins["olap.workers"]) == "--olap-workers"
        assert loaded.file == file


def test_one_key_of_a_topic_leaves_its_other_defaults() -> None:
    loaded = reading('[topics.aggregates]\nname = "counts"\n[topics.aggregates.config]\n"segment.ms" = 5\n')
    assert loaded.settings.topics.aggregates.cleanup_policy == "compact"
    config = Settings().topics.aggregates.config
    assert loaded.settings.topics.aggregates.config == {**config, "segment.ms": 5}


def test_dots_of_a_passed_through_key_may_do_without_quotes() -> None:
    quoted = reading('[kafka.client]\n"sasl.username" = "u"\n')
    bare = reading('[kafka]\nclient.sasl.username = "u"\n')
    inline = reading('kafka = { client = { "sasl.username" = "u" } }')
    assert quoted.settings == bare.settings == inline.settings
    assert quoted.settings.kafka.client == {"sasl.username": "u"}
    assert bare.origins['kafka.client."sasl.username"'].line == 2


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("SUPERVISOR_OLAP_CPUS", "1, 2,3", ("olap", "cpus"), [1, 2, 3]),
        ("SUPERVISOR_OLAP_CPUS", "", ("olap", "cpus"), []),
        ("SUPERVISOR_REALTIME_SINKS", "stdout,live", ("realtime", "sinks"), ["stdout", "live"]),
        ("SUPERVISOR_REALTIME_ENABLED", "false", ("realtime", "enabled"), False),
        ("SUPERVISOR_REALTIME_ENABLED", "0", ("realtime", "enabled"), False),
        ("SUPERVISOR_OLAP_WORKERS", " 3 ", ("olap", "workers"), 3),
        ("SUPERVISOR_RUNTIME_DRAIN_TIMEOUT_S", "2.5", ("runtime", "drain_timeout_s"), 2.5),
        ("SUPERVISOR_KAFKA_CLUSTER_ID", "", ("kafka", "cluster_id"), ""),
        ("SUPERVISOR_TOPICS_DLQ_RETENTION_MS", "-1", ("topics", "dlq", "retention_ms"), -1),
        ("SUPERVISOR_KAFKA_CLIENT_SASL_PASSWORD", " 12 ", ("kafka", "client", "sasl.password"), " 12 "),
        ("SUPERVISOR_TOPICS_DLQ_CONFIG_SEGMENT_MS", "5", ("topics", "dlq", "config", "segment.ms"), "5"),
    ],
)
def test_a_variable_becomes_its_keys_type(name: str, text: str, path: tuple[str, ...], value: object) -> None:
    assert at(load(None, {name: text}).settings, path) == value


@pytest.mark.parametrize(
    "name",
    [
        "SUPERVISOR_ENABLED",
        "SUPERVISOR_PROCESS_NAME",
        "SUPERVISOR_GROUP_NAME",
        "SUPERVISOR_SERVER_URL",
        "SUPERVISOR_CONFIG",
        "SUPERVISOR_SERVICE_HOST",
        "SUPERVISOR_SERVICE_PORT_HTTP",
        "SUPERVISOR_DASHBOARD_PORT_8080_TCP_ADDR",
        "SUPERVISORD",
        "MY_SUPERVISOR_OLAP_NISE",
    ],
)
def test_a_variable_of_somebody_elses_is_let_be(name: str) -> None:
    assert load(None, {name: "1"}).settings == Settings()


def test_an_unknown_variable_is_a_mistake_with_the_nearest_name() -> None:
    assert mistakes("", {"SUPERVISOR_OLAP_NISE": "1", "SUPERVISOR_olap_workers": "1"}) == [
        "SUPERVISOR_OLAP_NISE: there is no such key; did you mean SUPERVISOR_OLAP_NICE?",
        "SUPERVISOR_olap_workers: there is no such key; did you mean SUPERVISOR_OLAP_WORKERS?",
    ]


def test_every_mistake_is_reported_by_line_then_variable_then_flag() -> None:
    text = (
        "[olap]\nnice = 20\ncomit_interval_ms = 5\nworkers = 'x'\n[realtime]\nsinks = ['printer']\n"
        "[log.level]\nx = 1\n[topics]\ninput = 3\n"
    )
    assert mistakes(
        text,
        {"SUPERVISOR_OLAP_CPUS": "1,x", "SUPERVISOR_LOG_FORMAT": "xml"},
        Flag("olap.batch_events", "0", "--batch"),
        Flag("olap.batch", "1", "--set olap.batch"),
        Flag("olap..x", "1"),
    ) == [
        "F:2: olap.nice = 20 does not fit: expected a whole number from 0 to 19",
        "F:3: the key olap.comit_interval_ms is unknown; did you mean olap.commit_interval_ms?",
        'F:4: olap.workers = "x" does not fit: expected a whole number of at least 0',
        'F:6: realtime.sinks = ["printer"] does not fit: '
        'expected a list, each one of "jsonl", "live", "stdout"',
        'F:7: log.level = a table does not fit: expected one of "debug", "error", "info", "warning"',
        "F:10: topics.input = 3 does not fit: expected a table",
        'SUPERVISOR_LOG_FORMAT: log.format = "xml" does not fit: expected one of "auto", "json", "text"',
        'SUPERVISOR_OLAP_CPUS: olap.cpus = "1,x" does not fit: '
        "expected a list, each a whole number of at least 0",
        '--batch: olap.batch_events = "0" does not fit: expected a whole number from 1 to 1000000',
        "--set olap.batch: the key olap.batch is unknown; did you mean olap.batch_events?",
        '--set: "olap..x" is not the name of a key; write it as in olap.workers=4',
    ]


def _wrong(type_: types.Type) -> object:
    """A value that fits no key of this type."""
    return [[]] if isinstance(type_, types.ListType) else {}


@given(
    st.sets(st.sampled_from(range(len(SCALAR_KEYS)))), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9))
)
def test_as_many_mistakes_are_reported_as_were_made(
    wrong: set[int], unknown: set[int], strange: set[int]
) -> None:
    chosen = [SCALAR_KEYS[index] for index in sorted(wrong)]
    text = to_toml({key.path: _wrong(key.type) for key in chosen}) + "".join(
        f"[zzzz{number}]\na = 1\nb = 2\n" for number in unknown
    )
    environ = {f"SUPERVISOR_ZZZZ_{number}": "" for number in strange}
    found = reading(text, environ).mistakes
    assert len(found) == len(chosen) + len(unknown) + len(strange)
    assert {mistake.key for mistake in found} >= {dotted(key.path) for key in chosen}


def test_load_raises_all_mistakes_as_one_fault_of_configuration() -> None:
    with file_with("[olap]\nnice = 20\nx = 1\n") as file, pytest.raises(MistakenConfiguration) as caught:
        load(file, {})
    assert caught.value.exit_code == Exit.CONFIGURATION
    assert len(caught.value.mistakes) == 2
    assert "2 mistakes" in caught.value.cause
    assert f"{file}:2" in caught.value.cause
    assert f"{file}:3" in caught.value.cause


def test_one_mistake_has_its_hint_as_remedy() -> None:
    with pytest.raises(MistakenConfiguration) as caught:
        load(None, {"SUPERVISOR_OLAP_NISE": "1"})
    assert caught.value.cause == "SUPERVISOR_OLAP_NISE: there is no such key"
    assert caught.value.remedy == "did you mean SUPERVISOR_OLAP_NICE?"


def test_a_mistaken_value_is_reported_though_a_flag_overrides_it() -> None:
    found = mistakes("[olap]\nnice = 20\n", {}, Flag("olap.nice", "3"))
    assert len(found) == 1
    assert found[0].startswith("F:2:")


def test_contradictions_are_reported_where_they_were_set_beside_other_mistakes() -> None:
    found = mistakes("[olap]\nworkers = 9\nnice = 20\n")
    assert [line.split(":")[1] for line in found] == ["2", "3"]
    assert "topics.partitions = 4" in found[0]


def test_nothing_contradicts_a_value_that_nobody_knows() -> None:
    assert len(mistakes("[topics]\npartitions = 'many'\n", {"SUPERVISOR_OLAP_WORKERS": "9"})) == 1
    assert len(mistakes("[topics]\npartition = 9\n", {"SUPERVISOR_OLAP_WORKERS": "9"})) == 1
    assert len(mistakes("this is no TOML", {"SUPERVISOR_OLAP_WORKERS": "9"})) == 1


def test_the_machines_cpus_count_only_where_they_are_given() -> None:
    environ = {"SUPERVISOR_OLAP_CPUS": "0,77"}
    assert load(None, environ).settings.olap.cpus == [0, 77]
    with pytest.raises(MistakenConfiguration, match="77"):
        load(None, environ, cpus={0, 1})


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        (f'[kafka.client]\n"sasl.password" = ["{SECRET}"]', {}, []),
        (f'[kafka.client]\n"ssl.key.pem" = {{ a = ["{SECRET}"] }}', {}, []),
        (f'[kafka]\nsasl_password = "{SECRET}"', {}, []),
        (f'[kafka.client]\n"sasl.password" = "{SECRET}\\u0000"', {}, []),
        (f'[kafka]\nbootstrap_servers = {{ "sasl.password" = "{SECRET}" }}', {}, []),
        (f'[kafka]\nbootstrap_servers = [{{ "sasl.password" = "{SECRET}" }}]', {}, []),
        (f'kafka.client = "sasl.password={SECRET}"', {}, []),
        (f'kafka.client = ["{SECRET}"]', {}, []),
        (f'[kafka.client]\n"sasl.password" = "{SECRET}', {}, []),
        (f'[kafka]\nbootstrap_servers = ["https://me:{SECRET}@host"]', {}, []),
        ("", {"SUPERVISOR_KAFKA_CLIENT_SASL_PASSWORD": f"{SECRET}\udcff"}, []),
        ("", {"SUPERVISOR_KAFKA_SASL_PASSWORD": SECRET}, []),
        ("", {}, [Flag("kafka.client.sasl.password", [SECRET])]),
        ("", {}, [Flag("kafka.sasl.password", SECRET)]),
    ],
)
def test_no_mistake_gives_a_secret_away(text: str, environ: dict[str, str], flags: list[Flag]) -> None:
    with file_with(text) as file, pytest.raises(MistakenConfiguration) as caught:
        load(file, environ, flags)
    assert SECRET not in caught.value.cause + caught.value.remedy + repr(caught.value.mistakes)


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"[olap\nnice = 1\n", "F:1: not TOML"),
        (b"[olap]\nnice = \n", "F:2: not TOML"),
        (b"[olap]\nnice = 1\nnice = 2\n", "F:3: not TOML"),
        (b'[olap]\nnice = """', "F:2: not TOML"),
        (b"[olap]\nnice = 1\xff\n", "F:2: byte 0xff is not UTF-8"),
        (b"\xff\xfeo\x00", "F:1: byte 0xff is not UTF-8"),
        (b"[olap]\nnice = nan\n", "F:2: olap.nice"),
        (b"[runtime]\ndrain_timeout_s = nan\n", "F:2: runtime.drain_timeout_s = nan does not fit"),
        (b"[runtime]\ndrain_timeout_s = inf\n", "F:2: runtime.drain_timeout_s = inf does not fit"),
        (b"[kafka.client]\nx = -inf\n", "F:2: kafka.client.x = -inf does not fit"),
        (b"[olap]\ncommit_events = 9223372036854775808\n", "F:2: olap.commit_events"),
        (b"[olap]\nworkers = true\n", "F:2: olap.workers = true does not fit"),
        (b"[olap]\nworkers = 1979-05-27\n", "F:2: olap.workers = 1979-05-27 does not fit"),
        (b"[olap]\nworkers = " + b"9" * 5000, "F: a number in it has too many digits"),
        (b"x = " + b"[" * 50_000, "F: tables or lists are nested too deep"),
        (b"#" * 1024 * 1024 + b"\n", "F: the file is larger than 1 MiB"),
        (b'[app]\nname = "a\\u0000b"', "F:2: app.name"),
        (b'[app]\nname = ".."', 'F:2: app.name = ".." does not fit'),
        (b'[app]\nname = "a\\n"', "F:2: app.name"),
        (b'[kafka]\ncluster_id = "a\\u0000b"', "F:2: kafka.cluster_id"),
        (b"[[olap]]\nnice = 1\n", "F:1: olap"),
        (b'"" = 1\n', 'F:1: the key "" is unknown'),
    ],
)
def test_a_hostile_file_is_one_mistake(content: bytes, mistake: str) -> None:
    found = mistakes(content)
    assert len(found) == 1
    assert found[0].startswith(mistake)


@pytest.mark.parametrize("content", [b"", b"\n", b"# nothing\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_the_defaults(content: bytes) -> None:
    assert reading(content).settings == Settings()
    assert reading(content).mistakes == ()


def test_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    loaded = reading(b"\xef\xbb\xbf[olap]\r\n\r\nnice = 3\r\n")
    assert loaded.mistakes == ()
    assert loaded.settings.olap.nice == 3
    assert loaded.origins["olap.nice"].line == 3


@settings(max_examples=300)
@given(
    st.binary(max_size=200) | st.text(st.sampled_from("[]{}=\"'.,#\n\\olap x1"), max_size=60).map(str.encode)
)
def test_no_file_at_all_raises_anything_else(content: bytes) -> None:
    with file_with(content) as file:
        loaded = read(file, {})
        assert loaded.mistakes or loaded.settings == load(file, {}).settings


@given(
    st.dictionaries(
        st.sampled_from(["OLAP_NICE", "OLAP_CPUS", "KAFKA_CLIENT_", "KAFKA_CLIENT_X", "", "_"]),
        st.text(st.characters()),
    )
)
def test_no_environment_raises_anything_else(tails: dict[str, str]) -> None:
    environ = {f"SUPERVISOR_{tail}": text for tail, text in tails.items()}
    loaded = read(None, environ)
    assert loaded.mistakes or loaded.settings == load(None, environ).settings


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    expected = {
        tmp_path / "absent": "there is no such file",
        tmp_path: "this is a directory",
        pipe: "this is not a regular file",
        pipe / "below": "the file cannot be read: Not a directory",
        Path("a\0b"): "cannot be read",
        tmp_path / ("x" * 300): "the file cannot be read: File name too long",
    }
    for file, problem in expected.items():
        with pytest.raises(MistakenConfiguration, match=problem):
            load(file, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.touch(mode=0)
    with pytest.raises(MistakenConfiguration, match="Permission denied"):
        load(file, {})


def test_the_file_is_the_one_named_by_flag_then_variable_then_the_one_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    assert find_file(None, {"SUPERVISOR_CONFIG": ""}) is None
    Path("supervisor.toml").symlink_to("gone")
    assert find_file(None, {}) == Path("supervisor.toml")
    assert find_file(None, {"SUPERVISOR_CONFIG": "a"}) == Path("a")
    assert find_file("b", {"SUPERVISOR_CONFIG": "a"}) == Path("b")


def test_the_last_of_two_flags_counts() -> None:
    flags = [Flag("olap.nice", "1"), Flag('"olap".nice', "2")]
    assert load(None, {}, flags).settings.olap.nice == 2


def test_a_flag_may_have_a_value_that_is_no_text() -> None:
    loaded = load(None, {}, [Flag("olap.cpus", [1, 2]), Flag("runtime.bootstrap", False)])
    assert loaded.settings.olap.cpus == [1, 2]
    assert loaded.settings.runtime.bootstrap is False


def test_a_reload_finds_the_same_file_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("supervisor.toml").write_text("[olap]\nnice = 3\n")
    loaded = load(find_file(None, {}), {}, [Flag("olap.workers", "2")])
    Path("supervisor.toml").write_text("[olap]\nnice = 4\n")
    monkeypatch.chdir("/")
    again = load(loaded.file, {}, loaded.flags)
    assert (again.settings.olap.nice, again.settings.olap.workers) == (4, 2)
