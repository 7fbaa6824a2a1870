"""What brokers do to us: killed, paused, impatient. Nothing is lost or repeated, and nobody gives up."""

import os
import signal

import pytest
from exactly_once import assert_exactly_once, logins
from installation import Installation

from supervisor.cluster import Cluster


@pytest.fixture(scope="module")
def fragile():
    """A cluster whose brokers may be stopped."""
    with Cluster.start(brokers=3) as running:
        yield running


@pytest.fixture
def installation(fragile):
    made = Installation(fragile.bootstrap_servers)
    made.create_topics()
    yield made
    made.close()


def restarts(board):
    return [board.seat(place).restarts for place in range(board.header.seats)]


def test_a_broker_killed_and_restarted_under_load_loses_and_repeats_nothing(fragile, installation):
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    sent = installation.produce(logins(4_000, seed=1))
    fragile.kill(2)
    sent += installation.produce(logins(20_000, seed=2))
    installation.wait_committed(board)
    fragile.restart(2)
    sent += installation.produce(logins(4_000, seed=3))
    installation.wait_committed(board)
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)


def test_while_no_broker_answers_nobody_is_restarted_and_work_resumes_by_itself(fragile, installation):
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    sent = installation.produce(logins(2_000, seed=4))
    installation.wait_committed(board)
    for number in fragile.brokers:
        fragile.pause(number)
    try:
        installation.wait(
            lambda: installation.run("status").stdout.startswith("degraded: brokers"), "the outage is seen"
        )
    finally:
        for number in fragile.brokers:
            fragile.resume(number)
    sent += installation.produce(logins(2_000, seed=5))
    installation.wait_committed(board)
    assert not any(restarts(board))
    installation.wait(lambda: installation.run("status").returncode == 0, "all is well again")
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)


def test_a_worker_that_outlasts_its_transaction_is_replaced_and_its_work_done_once(
    fragile, installation, tmp_path
):
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "one").touch()
    installation.environment["STALL_TOKENS"] = str(tokens)
    sent = installation.produce(logins(2_000, seed=6))
    # The brokers look for late transactions every ten seconds.
    short = ("--set", "olap.transaction_timeout_ms=5000", "--set", "olap.backlog_interval_ms=500")
    installation.start("--set", "app.pipeline=stalling_logins", *short)
    board = installation.board()
    output = installation.settings.topics.output.name
    installation.wait(
        # An open transaction holds the partition's end at its first record, here at 0.
        lambda: not any(tokens.iterdir()) and all(installation.ends(output).values()),
        "the brokers have ended the stalled transaction",
    )
    tokens.with_suffix(".end").touch()
    installation.wait_committed(board)
    assert sum(restarts(board)) == 1
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)


def test_a_supervisor_started_before_its_brokers_waits_for_them(tmp_path):
    with Cluster.start(brokers=1, directory=tmp_path / "cluster") as first:
        servers = first.bootstrap_servers
    installation = Installation(servers, toml="topics.replication_factor = 1\ntopics.min_insync_replicas = 1")
    try:
        installation.start()
        board = installation.board()
        installation.wait(lambda: "waiting for the brokers" in installation.tail(), "it says that it waits")
        with Cluster.start(brokers=1, directory=tmp_path / "cluster"):
            installation.wait_serving(board)
            sent = installation.produce(logins(400, seed=7))
            installation.wait_committed(board)
            assert installation.stop() == 0
            assert_exactly_once(installation, sent)
    finally:
        installation.close()


def test_after_an_outage_of_all_brokers_longer_than_a_commit_waits_all_is_well_by_itself(tmp_path):
    with Cluster.start(brokers=3) as cluster:
        # Transactions stay open for seconds, so that one is in hand when the brokers go.
        installation = Installation(cluster.bootstrap_servers, toml="olap.commit_interval_ms = 3_000")
        try:
            installation.create_topics()
            installation.start()
            board = installation.board()
            installation.wait_serving(board)
            sent = installation.produce(logins(8_000, seed=8))
            installation.wait(
                lambda: any(board.olap(p).position > board.olap(p).committed for p in range(4)),
                "a transaction is in hand",
            )
            for broker in cluster.brokers.values():  # at one moment, as when the power goes
                os.kill(broker.pid, signal.SIGKILL)
            for number in cluster.brokers:
                cluster.kill(number)
            # A worker with a transaction in hand waits thirty seconds for the answer, and ends.
            installation.wait(
                lambda: "exit code 69" in installation.log.read_text(), "a worker gives up waiting"
            )
            for number in cluster.brokers:
                cluster.launch_one(number)
            cluster.wait_ready()
            installation.wait_committed(board)
            installation.wait(lambda: installation.run("status").returncode == 0, "all is well again")
            assert not any(restarts(board)), installation.tail()
            assert installation.stop() == 0
            assert_exactly_once(installation, sent)
            # Refused connections are told once in a while, not a hundred times a second.
            assert len(installation.log.read_text().splitlines()) < 200
        finally:
            installation.close()
