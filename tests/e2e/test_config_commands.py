"""`supervisor init` and `supervisor config`, as a person runs them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SUPERVISOR_")]:
        monkeypatch.delenv(name)


def supervisor(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "supervisor", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_init_writes_a_file_that_check_finds_well() -> None:
    done = supervisor("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert "supervisor.toml" in done.stdout
    checked = supervisor("config", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"{Path.cwd() / 'supervisor.toml'}: no mistakes\n"


def test_init_prints_what_it_would_write() -> None:
    printed = supervisor("init", "-").stdout
    assert not Path("supervisor.toml").exists()
    supervisor("init", "other.toml")
    assert Path("other.toml").read_text() == printed


def test_init_does_not_overwrite_unless_forced() -> None:
    file = Path("supervisor.toml")
    file.write_text("mine")
    file.chmod(0o640)
    refused = supervisor("init")
    assert refused.returncode == 1
    assert refused.stderr == "error: supervisor.toml exists already\nremedy: give --force to overwrite it\n"
    assert file.read_text() == "mine"
    assert supervisor("init", "--force").returncode == 0
    assert "[olap]" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "supervisor.toml"]


def test_init_writes_through_a_link_if_forced() -> None:
    Path("real.toml").write_text("mine")
    Path("supervisor.toml").symlink_to("real.toml")
    assert supervisor("init").returncode == 1
    assert supervisor("init", "--force").returncode == 0
    assert Path("supervisor.toml").is_symlink()
    assert "[olap]" in Path("real.toml").read_text()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (".", "is a directory"),
        ("no/such/place.toml", "No such file or directory"),
        ("pipe", "is not a regular file"),
        ("x" * 300, "File name too long"),
        ("file/below", "Not a directory"),
    ],
)
def test_init_says_why_it_cannot_write(path: str, reason: str) -> None:
    Path("file").touch()
    os.mkfifo("pipe")
    for force in ([], ["--force"]):
        done = supervisor("init", path, *force)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert reason in done.stderr
    assert Path("pipe").is_fifo()


def test_show_lists_every_key_with_its_origin() -> None:
    Path("supervisor.toml").write_text("[olap]\nnice = 3\n")
    rows = {line.split()[0]: line.split()[1:] for line in supervisor("config", "show").stdout.splitlines()}
    assert rows["olap.nice"] == ["3", "supervisor.toml:2"]
    assert rows["olap.workers"] == ["0", "default"]
    assert rows["topics.input.partitions"] == ["(not", "set)", "as", "topics.partitions"]
    everything = {
        value["key"] for value in json.loads(supervisor("config", "show", "--json").stdout)["values"]
    }
    assert set(rows) == everything


def test_show_changed_lists_what_somebody_set_and_nothing_else() -> None:
    Path("supervisor.toml").write_text("[olap]\nnice = 3\n")
    done = supervisor(
        "config", "show", "--changed", "--set", "olap.workers=2", "--bootstrap-servers", "k:1",
        SUPERVISOR_LOG_LEVEL="debug",
    )  # fmt: skip
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["kafka.bootstrap_servers", '"k:1"', "--bootstrap-servers"],
        ["olap.workers", "2", "--set", "olap.workers"],
        ["olap.nice", "3", "supervisor.toml:2"],
        ["log.level", '"debug"', "SUPERVISOR_LOG_LEVEL"],
    ]


@pytest.mark.parametrize("own_first", [True, False])
def test_a_flag_of_its_own_goes_before_set(own_first: bool) -> None:
    own, by_set = ["--bootstrap-servers", "a:1"], ["--set", "kafka.bootstrap_servers=b:1"]
    arguments = own + by_set if own_first else by_set + own
    assert '"a:1"' in supervisor("config", "show", "--changed", *arguments).stdout


def test_secrets_are_shown_nowhere() -> None:
    Path("supervisor.toml").write_text(
        f'[kafka.client]\n"ssl.key.pem" = "{SECRET}"\n"linger.ms" = "{SECRET}x"\n'
    )
    arguments = ["--set", f"kafka.client.ssl.key.password={SECRET}"]
    for command in (["show"], ["show", "--json"], ["check"], ["check", "--json"]):
        done = supervisor(
            "config", *command, *arguments,
            SUPERVISOR_KAFKA_CLIENT_SASL_PASSWORD=SECRET,
            SUPERVISOR_KAFKA_SASL_PASSWORD=SECRET,
        )  # fmt: skip
        assert done.returncode == 78
        assert SECRET not in (done.stdout + done.stderr).replace(f"{SECRET}x", "")
        if command[0] == "show":
            assert done.stdout.count("<redacted>") == 3


def test_check_reports_every_mistake_with_its_place() -> None:
    Path("supervisor.toml").write_text("[olap]\nnise = 3\nworkers = 9\n")
    done = supervisor(
        "config", "check", SUPERVISOR_APP_PIPELINE="no.such.module", SUPERVISOR_LOG_LEVEL="loud"
    )
    assert (done.returncode, done.stdout) == (78, "")
    error, first, second, third, fourth, remedy = done.stderr.splitlines()
    assert error == "error: the configuration has 4 mistakes:"
    assert first.startswith("  supervisor.toml:2: the key olap.nise is unknown; did you mean olap.nice?")
    assert second.startswith("  supervisor.toml:3: olap.workers = 9 is above")
    assert third.startswith("  SUPERVISOR_APP_PIPELINE: ")
    assert "No module named 'no'" in third
    assert fourth.startswith('  SUPERVISOR_LOG_LEVEL: log.level = "loud" does not fit')
    assert remedy.startswith("remedy: ")


def test_check_as_json_has_every_mistake() -> None:
    Path("supervisor.toml").write_text("[olap]\nnice = 30\n[nonsense]\n")
    done = supervisor("config", "check", "--json")
    assert (done.returncode, done.stderr) == (78, "")
    report = json.loads(done.stdout)
    assert report["file"] == str(Path.cwd() / "supervisor.toml")
    assert report["mistakes"][0] == {
        "key": "olap.nice",
        "problem": "olap.nice = 30 does not fit: expected a whole number from 0 to 19",
        "hint": None,
        "origin": {"kind": "file", "name": "supervisor.toml", "line": 2},
    }
    assert [mistake["key"] for mistake in report["mistakes"]] == ["olap.nice", "nonsense"]


def test_check_as_json_without_mistakes() -> None:
    done = supervisor("config", "check", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"file": None, "mistakes": []})


def test_check_finds_cpus_that_are_not_there_and_show_does_not_mind() -> None:
    assert supervisor("config", "show", SUPERVISOR_OLAP_CPUS="9999").returncode == 0
    done = supervisor("config", "check", SUPERVISOR_OLAP_CPUS="9999")
    assert done.returncode == 78
    assert "olap.cpus lists 9999" in done.stderr


def test_show_prints_the_values_and_then_the_mistakes() -> None:
    done = supervisor("config", "show", SUPERVISOR_OLAP_NICE="x")
    assert done.returncode == 78
    assert "olap.workers" in done.stdout
    assert done.stderr.startswith('error: SUPERVISOR_OLAP_NICE: olap.nice = "x" does not fit')


def test_the_file_named_by_a_flag_goes_before_the_one_named_by_the_variable() -> None:
    Path("a.toml").write_text("[olap]\nnice = 1\n")
    Path("b.toml").write_text("[olap]\nnice = 2\n")
    environ = {"SUPERVISOR_CONFIG": "b.toml"}
    assert "b.toml:2" in supervisor("config", "show", **environ).stdout
    assert "a.toml:2" in supervisor("config", "show", "--config", "a.toml", **environ).stdout
    gone = supervisor("config", "show", SUPERVISOR_CONFIG="gone.toml")
    assert gone.returncode == 78
    assert gone.stderr.startswith("error: gone.toml: there is no such file\n")


@pytest.mark.parametrize("arguments", [["--set", f"sasl.password:{SECRET}"], ["--config", ""]])
def test_a_flag_that_cannot_be_read_is_a_mistake_of_usage(arguments: list[str]) -> None:
    done = supervisor("config", "show", *arguments)
    assert done.returncode == 2
    assert SECRET not in done.stderr


@pytest.mark.parametrize("command", [["init"], ["config"], ["config", "show"], ["config", "check"]])
def test_help_has_examples(command: list[str]) -> None:
    done = supervisor(*command, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout or "Commands:" in done.stdout


def test_bytes_that_are_no_text_are_printed_somehow() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "config", "show", "--config", b"\xff.toml"],
        capture_output=True,
        env={**os.environ, "SUPERVISOR_OLAP_NICE": os.fsdecode(b"\xff")},
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert b"Traceback" not in done.stderr
    assert rb"\xff.toml: there is no such file" in done.stderr
