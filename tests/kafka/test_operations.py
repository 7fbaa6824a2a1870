"""Reloads, kills in their midst, other numbers of workers and of partitions: exactly once through it all."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from exactly_once import assert_exactly_once
from installation import Installation, at_one_moment

from supervisor.contract.board import Role
from supervisor.contract.exits import Exit
from supervisor.generate.events import events
from supervisor.topics.connection import Connection, Deadline
from supervisor.topics.observer import Observer as TopicsObserver

PACE_S = 0.05
EVENTS_AT_ONCE = 20


class Load(threading.Thread):
    """Login events at an even rate, over the partitions in turn; counts those that the brokers have."""

    def __init__(self, installation):
        super().__init__(daemon=True)
        self._installation = installation
        self._done = threading.Event()
        self._events = events(7, key="user_id", bad=0.02, timestamps="day")
        self._acknowledged = 0

    def run(self):
        producer = self._producer()
        partitions = self._installation.partitions
        while not self._done.wait(PACE_S):
            if partitions != self._installation.partitions:  # one that knows of those that were added
                producer.flush(60)
                partitions, producer = self._installation.partitions, self._producer()
            for number in range(EVENTS_AT_ONCE):
                key, value = next(self._events)
                producer.produce(
                    self._installation.settings.topics.input.name,
                    value,
                    key,
                    partition=(self._acknowledged + number) % partitions,
                    on_delivery=self._delivered,
                )
            producer.poll(0)
        producer.flush(60)

    def _producer(self):
        return Producer(
            {
                "bootstrap.servers": self._installation.settings.kafka.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 5,
            }
        )

    def _delivered(self, error, _message):
        self._acknowledged += error is None

    def finish(self):
        """End it; returns how many events there are in the topic."""
        self._done.set()
        self.join()
        return self._acknowledged


class Observer:
    """Looks at the board all the time, as fast as it can: what was never to be seen, and how long it took."""

    def __init__(self, board, partitions):
        self._board = board
        self._partitions = partitions
        self._committed = [0] * partitions
        self._committed_ns = [0] * partitions
        self.gaps_ms = [0.0] * partitions
        """The longest time between two commits of each partition."""
        self.went_back = []
        self.most_unowned = 0

    def look(self):
        for partition in range(self._partitions):
            record = self._board.olap(partition)
            committed, at = record.committed, record.committed_ns
            if committed < self._committed[partition]:
                self.went_back.append((partition, self._committed[partition], committed))
            if self._committed_ns[partition]:
                gap = (at - self._committed_ns[partition]) / 1e6
                self.gaps_ms[partition] = max(self.gaps_ms[partition], gap)
            self._committed[partition], self._committed_ns[partition] = committed, at
        self.most_unowned = max(self.most_unowned, at_one_moment(self._owned).count(False))

    def _owned(self):
        """Whether each partition is."""
        places = [self._board.assignment(partition).seat - 1 for partition in range(self._partitions)]
        return [self._board.seat(place).owned_ns != 0 for place in places]

    def watch(self, process):
        """Until a command has ended; returns its exit code and what it said."""
        while process.poll() is None:
            self.look()
            time.sleep(0.002)
        out, err = process.communicate()
        return process.returncode, out + err


class Site(Installation):
    """An installation with a command line beside it."""

    def configure(self, line):
        """Add a line to the configuration file, or change it."""
        key = line.partition(" = ")[0]
        lines = [old for old in self._config.read_text().splitlines() if not old.startswith(f"{key} = ")]
        self._config.write_text("\n".join([*lines, line, ""]))

    def command(self, *arguments):
        """A command under way."""
        return subprocess.Popen(
            [sys.executable, "-m", "supervisor", arguments[0], "--config", str(self._config), *arguments[1:]],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def seat(self, board, index):
        """The record of an OLAP seat."""
        seats = map(board.seat, range(board.header.seats))
        return next(seat for seat in seats if (seat.role, seat.index) == (Role.OLAP, index))

    def wait_moving(self, board):
        """Until every partition has committed something more."""
        goals = [board.olap(partition).transactions + 1 for partition in range(self.partitions)]
        self.wait(
            lambda: all(board.olap(p).transactions >= goal for p, goal in enumerate(goals)),
            "all partitions commit",
        )

    def add_partitions(self, partitions):
        """To the input alone, as its owner does it; returns when each broker knows of them. Else a producer
        that asks one of them anew may be told of the old ones, and has no partition for what it is given."""
        admin = AdminClient({"bootstrap.servers": self.settings.kafka.bootstrap_servers})
        (future,) = admin.create_partitions(
            [NewPartitions(self.settings.topics.input.name, partitions)]
        ).values()
        future.result(30)
        self.wait(lambda: self._known_to_every_broker(partitions), "every broker knows the new partitions")

    def _known_to_every_broker(self, partitions):
        name, deadline = self.settings.topics.input.name, Deadline(30)
        observer = TopicsObserver(Connection(self.settings.kafka, heed=lambda: None))
        views = observer.views([name], observer.observe([], deadline).brokers, deadline)
        return all(view is not None and name in view and view[name].led == partitions for view in views)


@pytest.fixture
def site(cluster):
    made = Site(cluster.bootstrap_servers)
    made.create_topics()
    yield made
    made.close()


def unowned_ms(board, partitions):
    """For how long each partition was without an owner, all in all."""
    return [board.assignment(partition).unowned_ns / 1e6 for partition in range(partitions)]


def test_reloads_under_load_also_with_workers_killed_meanwhile_lose_and_repeat_nothing(site):
    site.start()
    board = site.board()
    site.wait_serving(board)
    load = Load(site)
    load.start()
    site.wait_moving(board)

    # One after the other while the others go on, the first of them as a canary.
    observer = Observer(board, site.partitions)
    before_ms = unowned_ms(board, site.partitions)
    site.configure("olap.commit_interval_ms = 50")
    code, said = observer.watch(site.command("reload"))
    assert code == Exit.OK, said + site.tail()
    assert [site.seat(board, index).generation for index in range(4)] == [2, 2, 2, 2]
    assert observer.most_unowned <= 1
    site.wait_moving(board)
    observer.look()
    reloaded_ms = unowned_ms(board, site.partitions)
    for partition, gap_ms in enumerate(observer.gaps_ms):
        reload_ms = reloaded_ms[partition] - before_ms[partition]
        print(f"partition {partition}: unowned for {reload_ms:.0f} ms, {gap_ms:.0f} ms between commits")

    # The last one is killed before its turn: it is replaced at once, and the reload goes on.
    site.configure("olap.commit_interval_ms = 100")
    site.configure("runtime.canary_s = 0.0")
    reload = site.command("reload")
    first, last = site.seat(board, 0), site.seat(board, 3)
    site.wait(lambda: first.generation == 3 and first.owned_ns, "the first one is replaced")
    os.kill(last.pid, signal.SIGKILL)
    code, said = observer.watch(reload)
    assert code == Exit.OK, said + site.tail()
    assert last.restarts == 1
    assert [site.seat(board, index).generation for index in range(4)] == [3, 3, 3, 3]
    site.wait_moving(board)
    # A client that was paused while the old worker finished began to fetch again only after a second.
    # Who was killed had nobody prepare for it, and takes twice as long at most with whatever else went on.
    killed_ms = unowned_ms(board, site.partitions)[3] - reloaded_ms[3]
    print(f"partition 3: unowned for {killed_ms:.0f} ms by the kill")
    assert min(now - before for now, before in zip(reloaded_ms, before_ms, strict=True)) < 2 * killed_ms

    # A new one dies while it is watched, as if it could not deal with a record: it is taken back.
    site.configure("olap.commit_interval_ms = 70")
    site.configure("runtime.canary_s = 60.0")
    reload = site.command("reload")
    site.wait(lambda: first.generation == 4 and first.owned_ns, "the first one is replaced again")
    os.kill(first.pid, signal.SIGKILL)
    code, said = observer.watch(reload)
    assert code == Exit.FAILED, said + site.tail()
    assert "rolled back" in said
    site.wait_serving(board)
    assert [site.seat(board, index).generation for index in range(4)] == [3, 3, 3, 3]

    site.wait_moving(board)
    observer.look()
    sent = load.finish()
    site.wait_committed(board)
    assert observer.went_back == []
    assert site.stop() == Exit.OK
    assert_exactly_once(site, sent)


def test_another_number_of_workers_and_of_partitions_under_load_lose_and_repeat_nothing(site):
    site.start()
    board = site.board()
    site.wait_serving(board)
    load = Load(site)
    load.start()
    site.wait_moving(board)
    observer = Observer(board, site.partitions)
    probe = site.pid_of(board, Role.PROBE)
    for workers, seats in (("2", [2, 3, 2, 3]), ("3", [2, 3, 4, 2])):
        code, said = observer.watch(site.command("scale", workers))
        assert code == Exit.OK, said + site.tail()
        assert [board.assignment(partition).seat - 1 for partition in range(4)] == seats
        site.wait_moving(board)

    site.add_partitions(6)
    site.partitions = 6
    site.wait(lambda: all(board.olap(p).transactions for p in range(6)), "the new ones are served")
    assert board.header.topic_partitions == 6
    site.wait_moving(board)
    observer.look()
    sent = load.finish()
    site.wait_committed(board)
    assert observer.went_back == []
    assert not any(board.seat(place).restarts for place in range(board.header.seats))
    assert site.pid_of(board, Role.PROBE) == probe
    assert site.stop() == Exit.OK
    assert_exactly_once(site, sent)


def test_a_reload_to_brokers_that_nobody_reaches_takes_no_partition_from_its_owner(site):
    site.start()
    board = site.board()
    site.wait_serving(board)
    site.wait_spare(board)
    owners = [site.seat(board, index).pid for index in range(4)]
    site.configure('kafka.bootstrap_servers = "127.0.0.1:1"')
    code, said = Observer(board, site.partitions).watch(site.command("reload"))
    assert code == Exit.BROKERS_UNREACHABLE, said + site.tail()
    assert "the new workers do not get on with the brokers at 127.0.0.1:1" in said
    assert [site.seat(board, index).pid for index in range(4)] == owners
    assert site.stop() == Exit.OK
