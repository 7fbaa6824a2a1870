"""Trying the pipeline and the client's properties out, whatever the pipeline's code does."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

import pytest

from supervisor.config.load import Flag, Loaded, load, read
from supervisor.config.trial import client_mistakes, pipeline_mistakes


def with_pipeline(code: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    (directory / "my_pipeline.py").write_text(code)
    monkeypatch.syspath_prepend(directory)
    return load(None, {"SUPERVISOR_APP_PIPELINE": "my_pipeline"})


def with_client(**properties: str) -> Loaded:
    return load(None, {}, [Flag(f"kafka.client.{name}", value) for name, value in properties.items()])


def test_the_pipeline_of_our_own_loads() -> None:
    assert pipeline_mistakes(load(None, {})) == []


def test_a_module_that_is_not_there_is_a_mistake_at_the_key_that_names_it() -> None:
    (mistake,) = pipeline_mistakes(load(None, {"SUPERVISOR_APP_PIPELINE": "no.such.module"}))
    assert "No module named 'no'" in mistake.problem
    assert mistake.key == "app.pipeline"
    assert str(mistake.origin) == "SUPERVISOR_APP_PIPELINE"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError"),
        ("pass", "lacks Event"),
        ("import os; os._exit(7)", "ended the process with exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "ended in a crash (SIGKILL)"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("print('{}')\nraise ValueError('a\\nb')", "ValueError: a b"),
    ],
)
def test_a_pipeline_that_does_not_load_is_a_mistake_with_its_cause(
    code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mistake,) = pipeline_mistakes(with_pipeline(code, tmp_path, monkeypatch))
    assert problem in mistake.problem
    assert "\n" not in mistake.problem


def test_a_pipeline_that_hangs_is_a_mistake_and_its_children_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader of the pipe is told when nobody holds it open for writing any more.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    code = f"""
import os, subprocess, threading
held = os.open({str(pipe)!r}, os.O_WRONLY)
os.write(held, b"x")
subprocess.Popen(["sleep", "600"], pass_fds=[held])
threading.Event().wait()
"""
    held = select.poll()
    held.register(reader, select.POLLIN)

    def communicate(self: subprocess.Popen[bytes], request: bytes, timeout_s: float) -> None:
        """The time begins when it hangs, not when it is started."""
        assert self.stdin is not None
        self.stdin.write(request)
        self.stdin.close()
        assert held.poll(60_000) == [(reader, select.POLLIN)]
        self.wait(timeout_s)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    (mistake,) = pipeline_mistakes(with_pipeline(code, tmp_path, monkeypatch), timeout_s=0.1)
    assert "took longer than 0.1 s" in mistake.problem
    assert os.read(reader, 1) == b"x"
    ended = select.poll()
    ended.register(reader, 0)
    assert ended.poll(10_000) == [(reader, select.POLLHUP)]
    os.close(reader)


def test_properties_that_librdkafka_takes_are_none() -> None:
    assert client_mistakes(load(None, {})) == []
    assert client_mistakes(with_client(**{"linger.ms": "5", "security.protocol": "plaintext"})) == []


def test_each_property_that_librdkafka_refuses_is_a_mistake_at_its_origin() -> None:
    mistakes = client_mistakes(with_client(**{"sasl.pasword": "x", "linger.ms": "soon", "client.id": "x"}))
    assert [mistake.key for mistake in mistakes] == [
        'kafka.client."sasl.pasword"',
        'kafka.client."linger.ms"',
    ]
    assert "No such configuration property" in mistakes[0].problem
    assert mistakes[0].origin.kind == "flag"


def test_properties_that_do_not_go_together_are_a_mistake() -> None:
    (mistake,) = client_mistakes(with_client(**{"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}))
    assert mistake.key == "kafka.client"
    assert "sasl.username and sasl.password must be set" in mistake.problem


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("fetch.max.bytes", "10", "`fetch.max.bytes` must be >= `message.max.bytes`"),
        ("max.poll.interval.ms", "1000", "`max.poll.interval.ms`must be >= `session.timeout.ms`"),
    ],
)
def test_what_one_kind_of_client_alone_refuses_is_a_mistake(name: str, value: str, problem: str) -> None:
    """And is told at the entry to blame, whatever stands beside it."""
    (mistake,) = client_mistakes(with_client(**{"client.id": "x", name: value}))
    assert mistake.key in (f'kafka.client."{name}"', f"kafka.client.{name}")
    assert mistake.problem.startswith(f"{mistake.key}: {problem}")
    assert mistake.origin.kind == "flag"


def test_a_property_that_is_a_mistake_already_is_not_a_second_one() -> None:
    entries = {"acks": "1", "error_cb": "x", "retries": "0"}
    loaded = read(None, {}, [Flag(f"kafka.client.{name}", value) for name, value in entries.items()])
    assert len(loaded.mistakes) == 2
    (mistake,) = client_mistakes(loaded)
    assert mistake.key == "kafka.client.retries"


def test_what_confluent_kafka_chokes_on_is_a_mistake_like_any_other() -> None:
    (mistake,) = client_mistakes(with_client(**{"default.topic.config": "x"}))
    assert mistake.key == 'kafka.client."default.topic.config"'


def test_time_outs_are_tried_beside_that_of_the_transaction() -> None:
    (mistake,) = client_mistakes(with_client(**{"message.timeout.ms": "70000"}))
    assert "`transaction.timeout.ms`" in mistake.problem
    longer = Flag("olap.transaction_timeout_ms", "80000")
    assert client_mistakes(load(None, {}, [Flag("kafka.client.message.timeout.ms", "70000"), longer])) == []


def test_librdkafkas_words_do_not_give_a_secret_away() -> None:
    # It quotes what it does not understand, from where it does not understand it.
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "enable.sasl.oauthbearer.unsecure.jwt": "true",
        "ssl.key.pem": "-----hunter2hunter3",
        "ssl.key.password": "x",
        "plugin.library.paths": "/hunter2hunter3",
    }
    (mistake,) = client_mistakes(with_client(**properties))
    assert "<redacted>" in mistake.problem
    assert "hunter" not in mistake.problem
