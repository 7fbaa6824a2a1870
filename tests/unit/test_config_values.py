"""What is a secret, how values are written, and how they are shown."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.values import REDACTED, is_secret, literal, shown

CLIENT = ("kafka", "client")


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "SASL.PASSWORD",
        "sasl.pasword",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl_key",
        "ssl.keystore.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.jaas.config",
        "sasl.kerberos.kinit.cmd",
        "my.api.key",
        "access.token",
    ],
)
def test_a_secret_is_redacted(name: str) -> None:
    assert is_secret((*CLIENT, name), "hunter2")
    assert shown((*CLIENT, name), "hunter2") == REDACTED


@pytest.mark.parametrize(
    "name",
    [
        "sasl.username",
        "sasl.mechanism",
        "security.protocol",
        "ssl.key.location",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.pem",
        "ssl.keystore.location",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.assertion.algorithm",
        "sasl.oauthbearer.assertion.claim.aud",
        "sasl.oauthbearer.scope",
        "socket.keepalive.enable",
        "linger.ms",
    ],
)
def test_what_only_leads_to_a_secret_is_shown(name: str) -> None:
    assert shown((*CLIENT, name), "x") == '"x"'


@pytest.mark.parametrize(
    "value",
    [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII",
        "https://me:hunter2@host/token",
        'org.apache.kafka.PlainLoginModule required password="hunter2";',
    ],
)
def test_a_value_that_is_plainly_a_secret_is_redacted_wherever_it_stands(value: str) -> None:
    assert shown((*CLIENT, "sasl.username"), value) == REDACTED
    assert shown(("app", "pipeline"), value) == REDACTED
    assert shown(("realtime", "sinks"), [value]) == REDACTED


def test_the_address_of_a_webhook_is_a_secret_as_a_whole() -> None:
    assert shown(("hooks", "webhook"), "https://chat.example/T0/B0/x") == REDACTED
    assert shown(("hooks", "webhook"), "") == '""'
    assert shown(("hooks", "command"), "https://chat.example/T0/B0/x") != REDACTED


def test_what_a_terminal_obeys_is_not_printed() -> None:
    assert "\x1b" not in shown((), "\x1b[2J\u202e\udcff")
    assert "\u202e" not in shown((), "\x1b[2J\u202e\udcff")
    shown((), "\udcff").encode()


def test_a_long_value_is_cut_in_a_message() -> None:
    assert len(shown((), "x" * 1000)) == 60
    assert len(shown((), "x" * 1000, length=None)) == 1002


@given(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.lists(st.text(st.characters(exclude_categories=["Cs"])))
)
def test_a_literal_is_read_back_by_toml(value: object) -> None:
    read = tomllib.loads(f"x = {literal(value)}")["x"]
    assert read == value
    assert type(read) is type(value)
