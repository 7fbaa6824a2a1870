"""The demo from its first broker to its last audit: what is done, and in which order."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from supervisor.cluster import Cluster
from supervisor.cluster.checks import require_disk, require_memory
from supervisor.cluster.cluster import DEFAULT_HEAP_MB
from supervisor.config.load import load
from supervisor.contract.board import Board, Role, Stage
from supervisor.contract.faults import BrokersUnreachable, Fault
from supervisor.contract.rundir import LIVE_SOCKET, socket_path
from supervisor.contract.settings import Settings
from supervisor.demo.audit import audit
from supervisor.demo.directory import SPACE_REMEDY, Directory
from supervisor.demo.findings import Audit
from supervisor.demo.gap import Killing, kill_one
from supervisor.demo.part import Part
from supervisor.demo.screen import Screen
from supervisor.demo.summary import Summary, judged
from supervisor.demo.view import Moment, top
from supervisor.demo.watch import Watch, by_name
from supervisor.generate.report import Report
from supervisor.host import instance
from supervisor.host.interrupts import Interrupted, Interrupts
from supervisor.reporting import status
from workers.aggregates import Aggregates

__all__ = ["Demo", "Options"]

BROKERS = 3
_LEAST_PARTITIONS = 4
_READY_S = 120.0
_STALLED_S = 60.0
_GENERATOR_PATIENCE_S = 180.0
_STOP_S = 40.0
_QUICK_S = 10.0
_LOOK_S = 0.05
# While a worker is being replaced: its successor commits every 100 ms, and the first commit is wanted.
_LOOK_CLOSELY_S = 0.003


class Options(Struct, frozen=True, kw_only=True):
    """What ``supervisor demo`` was told."""

    duration_s: float = 60.0
    olap_workers: int = 4
    rate: float = 500.0
    bad: float = 0.01
    keep: bool = False

    @property
    def partitions(self) -> int:
        return max(_LEAST_PARTITIONS, self.olap_workers)


class Demo:
    """Runs once, in the main thread."""

    def __init__(self, options: Options, screen: Screen, interrupts: Interrupts) -> None:
        self._options = options
        self._screen = screen
        self._interrupts = interrupts
        self._watch = Watch(screen, options.duration_s)
        self._killing: Killing | None = None
        self._report: Report | None = None
        self._fallen: set[int] = set()

    def run(self) -> Summary:
        """Returns when everything has ended and is cleaned up, by itself or by an interruption.

        Raises :class:`Fault` if something of it fails, then too with everything cleaned up.
        """
        self._directory = Directory.create()
        try:
            with ExitStack() as cleanup:
                cleanup.callback(self._leave_directory)
                try:
                    summary = self._perform(cleanup)
                finally:
                    self._watch.end()
                    # Signals that come from now on hasten the way down.
                    self._signals_before = self._interrupts.count
                    if self._signals_before:
                        self._say_if_seen("interrupted: taking everything down")
        except Interrupted:
            return self._interrupted()
        return summary

    def _perform(self, cleanup: ExitStack) -> Summary:
        self._start_cluster(cleanup)
        self._start_supervisor(cleanup)
        self._generate(cleanup)
        self._drain()
        self._stop_supervisor()
        found = self._audit()
        return self._completed(judged(found), *self._final_counts())

    # -- the way up -------------------------------------------------------------------------------------

    def _start_cluster(self, cleanup: ExitStack) -> None:
        say, directory = self._screen.say, self._directory
        with _remedy("set TMPDIR to a directory with a shorter path"):
            socket_path(directory.run, LIVE_SOCKET)
        with _remedy("end other programs"):
            require_memory(BROKERS, DEFAULT_HEAP_MB)
        with _remedy(SPACE_REMEDY):
            require_disk(directory.root, BROKERS)
        where = f" in {directory.cluster}" if self._options.keep else ""
        say(f"starting {BROKERS} brokers of Apache Kafka{where}")
        self._screen.show(Moment("starting the brokers"))
        with self._interrupts.at_once():
            cluster = Cluster.create(BROKERS, directory.cluster, keep=self._options.keep, notify=self._notify)
        self._cluster = cluster
        cleanup.callback(self._stop_cluster)
        with _remedy(self._logs_remedy):
            cluster.launch()
            cluster.wait_ready(_READY_S, tick=lambda: self._tick("starting the brokers"))
        say(f"brokers ready: {cluster.bootstrap_servers}")

    @property
    def _logs_remedy(self) -> str:
        if self._options.keep:
            return f"see the logs in {self._directory.cluster}"
        return "run it again with --keep, to have the brokers' logs"

    def _notify(self, text: str) -> None:
        """Progress of a download comes many times a second: it goes into the view, the rest is said."""
        if " of " in text:
            self._screen.show(Moment(text))
        else:
            self._screen.say(text)

    def _start_supervisor(self, cleanup: ExitStack) -> None:
        options, directory = self._options, self._directory
        directory.write_config(self._cluster.bootstrap_servers, options.partitions, options.olap_workers)
        self._settings = _quiet(load(directory.config, {}).settings)
        arguments = ["start", "--config", str(directory.config)]
        self._supervisor = Part("supervisor", arguments, directory.supervisor_log, kept=options.keep)
        cleanup.callback(lambda: self._supervisor.end(signal.SIGINT, _QUICK_S, self._hastened))
        self._screen.say(f"supervisor start: pid {self._supervisor.pid}; it creates the topics first")
        deadline = time.monotonic() + _READY_S
        while not self._ready():
            self._turn("starting the workers")
            if time.monotonic() > deadline:
                raise self._supervisor.fault(f"was not ready after {_READY_S:.0f} s")
        self._screen.say(
            f"1 real-time and {options.olap_workers} OLAP workers serve {options.partitions} partitions; "
            "1 spare"
        )

    def _ready(self) -> bool:
        """Whether every seat is served and the spare is there."""
        board = self._watch.board
        if board is None:
            if instance.holder(self._directory.run) != self._supervisor.pid:
                return False
            board = self._watch.board = status.board_of(self._directory.run, self._supervisor.pid)
        if board is None:
            return False
        return status.read(board).health == "ok" and any(
            slot.role == Role.SPARE and slot.stage == Stage.STANDBY
            for slot in map(board.worker, range(board.workers))
        )

    # -- the show ---------------------------------------------------------------------------------------

    def _generate(self, cleanup: ExitStack) -> None:
        options, directory = self._options, self._directory
        rate = "max" if options.rate == float("inf") else repr(options.rate)
        arguments = ["generate", "--json", "--config", str(directory.config), "--timestamps", "day"]
        arguments += ["--rate", rate, "--bad", repr(options.bad), "--duration", repr(options.duration_s)]
        generator = Part("generator", arguments, directory.generator_log, kept=options.keep)
        cleanup.callback(lambda: generator.end(signal.SIGKILL, 0, self._hastened))
        # After the last process was forked: a Kafka client has threads.
        aggregates = self._watch.aggregates = Aggregates(self._settings, options.partitions)
        cleanup.callback(aggregates.close)
        pace = "as many events as the brokers take" if rate == "max" else f"{options.rate:,.0f} events/s"
        self._screen.say(f"generating {pace} for {options.duration_s:g} s, {options.bad:.1%} of them bad")
        deadline = time.monotonic() + options.duration_s + _GENERATOR_PATIENCE_S
        while generator.exit_code is None:
            self._turn("generating")
            if self._watch.seconds >= options.duration_s / 2:
                self._kill_once()
            if time.monotonic() > deadline:
                raise generator.fault(f"has not ended {_GENERATOR_PATIENCE_S:.0f} s after its time")
        self._report = self._read_report(generator)

    def _read_report(self, generator: Part) -> Report:
        lines = [text for text in generator.log_lines() if text.startswith("{")]
        try:
            report = msgspec.json.decode(lines[-1], type=Report)
        except (IndexError, msgspec.DecodeError):
            generator.require_running()  # raises: it has ended
            raise generator.fault("wrote no report") from None
        self._screen.say(
            f"the generator has ended: {report.acknowledged:,} events acknowledged, {report.bad_sent:,} bad"
        )
        if report.failed:
            self._screen.say(f"{report.failed:,} events were not acknowledged: {report.causes}")
        return report

    def _kill_once(self) -> None:
        if self._killing is not None:
            return
        self._killing = kill_one(self._board)
        if self._killing is not None:
            gap = self._killing.gap
            self._screen.say(f"killed {gap.worker} (pid {gap.pid}) with SIGKILL, as a crash would")

    def _drain(self) -> None:
        """Wait until everything that was generated is processed and shown."""
        # If the events ended so soon after the first one was processed that it has not come to that yet.
        self._kill_once()
        done_ns, moved_at, moved_to = time.monotonic_ns(), time.monotonic(), -1
        while not self._drained(done_ns):
            self._turn("draining")
            position = sum(
                self._board.olap(p).committed + self._board.realtime(p).position
                for p in range(self._options.partitions)
            )
            if position != moved_to:
                moved_at, moved_to = time.monotonic(), position
            if time.monotonic() - moved_at > _STALLED_S:
                raise self._supervisor.fault(f"has processed nothing for {_STALLED_S:.0f} s, and lag is left")
        self._watch.end()
        self._watch.show("drained")
        self._screen.say("everything is processed: lag is 0")

    def _drained(self, since_ns: int) -> bool:
        now = status.read(self._board)
        if self._killing is not None and self._killing.gap.owned_ms is None:
            return False
        return (
            # The end offsets were looked up after the last event was acknowledged.
            all(self._board.topic(p).seen_ns > since_ns for p in range(self._options.partitions))
            and all(partition.lag == 0 for partition in now.partitions)
            and now.realtime is not None
            and now.realtime.lag == 0
        )

    def _stop_supervisor(self) -> None:
        code = self._supervisor.end(signal.SIGTERM, _STOP_S, lambda: self._interrupts.count > 0)
        self._interrupts.check()
        if code != 0:
            raise self._supervisor.fault(f"did not stop as it should (exit code {code})")
        # The first commit may have been the last one, noted behind the last look.
        self._follow_killing()
        self._screen.say("the supervisor was told to stop by SIGTERM: drained and stopped")
        self._watch.board = None

    def _audit(self) -> Audit:
        self._screen.say("reading every topic back: is anything lost, twice or miscounted?")
        found = audit(self._settings, self._options.partitions, lambda: self._tick("auditing"))
        assert self._report is not None
        if found.events_in < self._report.acknowledged:
            missing = self._report.acknowledged - found.events_in
            found.lost.add(f"{missing:,} events that the brokers acknowledged are not in the input", missing)
        return found

    @property
    def _board(self) -> Board:
        """There is one from when the workers were ready."""
        assert self._watch.board is not None
        return self._watch.board

    # -- one turn ---------------------------------------------------------------------------------------

    def _turn(self, phase: str) -> None:
        """Look at everything once, and rest."""
        self._tick(phase)
        self._supervisor.require_running()
        self._look_at_brokers()
        time.sleep(_LOOK_CLOSELY_S if self._follow_killing() else _LOOK_S)

    def _follow_killing(self) -> bool:
        """Say what has happened to the killed worker's partitions; whether there is more to come."""
        if self._killing is None or self._killing.done:
            return False
        for happened in self._killing.look():
            self._screen.say(happened)
        return not self._killing.done

    def _tick(self, phase: str) -> None:
        self._interrupts.check()
        self._watch.tick(phase)

    def _look_at_brokers(self) -> None:
        for number, broker in self._cluster.brokers.items():
            if broker.exit_code is not None and number not in self._fallen:
                self._fallen.add(number)
                self._screen.say(f"broker {number} has ended ({broker.ending})")
        if len(self._fallen) > BROKERS // 2:
            raise BrokersUnreachable(
                f"{len(self._fallen)} of {BROKERS} brokers have ended", self._logs_remedy
            )

    def _final_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        aggregates = Aggregates(self._settings, self._options.partitions)
        try:
            aggregates.read_to_end()
            return by_name(aggregates)
        except TimeoutError as error:
            raise Fault(str(error)) from error
        finally:
            aggregates.close()

    # -- the way down -----------------------------------------------------------------------------------

    def _hastened(self) -> bool:
        return self._interrupts.count > self._signals_before

    def _stop_cluster(self) -> None:
        def tick() -> None:
            if self._hastened():
                raise InterruptedError

        if self._options.keep:
            self._say_if_seen("stopping the brokers; their data is kept")
        self._cluster.stop(tick=tick)

    def _say_if_seen(self, text: str) -> None:
        """On the way down a terminal that is gone is no reason to leave something behind."""
        with suppress(OSError):
            self._screen.say(text)

    def _leave_directory(self) -> None:
        if not self._options.keep:
            self._directory.remove()

    # -- the outcome ------------------------------------------------------------------------------------

    def _interrupted(self) -> Summary:
        now = self._watch.moment.status
        partitions = now.partitions if now else ()
        summary = Summary(
            outcome="interrupted",
            events_in=sum(partition.end for partition in partitions),
            events_out=sum(partition.outputs for partition in partitions),
            dead_letters=sum(partition.dead_letters for partition in partitions),
        )
        return self._completed(summary, dict(self._watch.moment.regions), dict(self._watch.moment.periods))

    def _completed(self, summary: Summary, regions: dict[str, int], periods: dict[str, int]) -> Summary:
        """With all that was seen while it ran."""
        now = self._watch.moment.status
        realtime = now.realtime if now else None
        region, period = top(regions), top(periods)
        return replace(
            summary,
            seconds=round(self._watch.seconds, 3),
            acknowledged=self._report.acknowledged if self._report else None,
            gap=self._killing.gap if self._killing else None,
            restarts=sum(worker.restarts for worker in now.workers) if now else 0,
            realtime_p50_ms=realtime.p50_ms if realtime else None,
            realtime_p99_ms=realtime.p99_ms if realtime else None,
            regions=regions,
            periods=periods,
            top_region=region[0] if region else None,
            top_period=period[0] if period else None,
            directory=str(self._directory.root) if self._options.keep else None,
        )


def _quiet(settings: Settings) -> Settings:
    """For the Kafka clients in this process: what they log would go right across the view."""
    return replace(settings, kafka=replace(settings.kafka, client={**settings.kafka.client, "log_level": 0}))


@contextmanager
def _remedy(remedy: str) -> Iterator[None]:
    """What to do about a fault within: the cluster's own remedies name options that the demo has not."""
    try:
        yield
    except Fault as fault:
        kind = BrokersUnreachable if isinstance(fault, BrokersUnreachable) else Fault
        raise kind(fault.cause, remedy) from fault
