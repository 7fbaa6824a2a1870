"""A real Kafka on this machine, whose brokers are children of the calling process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from supervisor.cluster import checks, ports
from supervisor.cluster.broker import Broker
from supervisor.cluster.jars import KAFKA_VERSION
from supervisor.cluster.layout import Identity, Layout, Lock
from supervisor.cluster.leftovers import new_temporary
from supervisor.cluster.probe import ask
from supervisor.cluster.properties import LOOPBACK, Node, render
from supervisor.cluster.runtime import Runtime, prepare
from supervisor.cluster.storage import new_id, prepare_data
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault, Fault

__all__ = ["DEFAULT_HEAP_MB", "Cluster"]

DEFAULT_HEAP_MB = 512
READY_S = 60.0
STOP_S = 20.0
_POLL_S = 0.05


def _silent(_: str) -> None:
    return


def _nothing() -> None:
    return


class Cluster:
    """One or three brokers on loopback. Use it as a context manager::

        with Cluster.start(brokers=3) as cluster:
            producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})

    The brokers end with this process, even by SIGKILL. Only the main thread may start or restart them.
    """

    def __init__(
        self, layout: Layout, lock: Lock, held: ports.Held, identity: Identity, brokers: dict[int, Broker]
    ) -> None:
        self._layout = layout
        self._lock = lock
        self._ports = held
        self._identity = identity
        self._stopped = False
        self.brokers = brokers

    @classmethod
    def start(
        cls,
        brokers: int = 3,
        directory: Path | None = None,
        *,
        keep: bool | None = None,
        port: int | None = None,
        heap_mb: int = DEFAULT_HEAP_MB,
        optimize: bool = False,
        timeout: float = READY_S,
        notify: Callable[[str], None] = _silent,
    ) -> Cluster:
        """Start a cluster and return when every broker answers and sees the others.

        ``directory`` None is a temporary one. ``keep`` None keeps the data of a named directory and removes
        that of a temporary one. Clients connect to ``port`` and the ports after it, by default to free ones.
        ``optimize`` is for brokers that run on: their compiler and collector pay after some minutes.
        Raises Fault (nothing is left running then), AlreadyRunning when a cluster runs in the directory.
        """
        cluster = cls.create(
            brokers, directory, keep=keep, ports_from=port, heap_mb=heap_mb, optimize=optimize, notify=notify
        )
        try:
            cluster.launch()
            cluster.wait_ready(timeout)
        except BaseException:
            cluster.stop(hasten=True)
            raise
        return cluster

    @classmethod
    def create(
        cls,
        brokers: int | None,
        directory: Path | None,
        *,
        keep: bool | None = None,
        ports_from: int | None = None,
        preferred_port: int | None = None,
        heap_mb: int = DEFAULT_HEAP_MB,
        optimize: bool = False,
        notify: Callable[[str], None] = _silent,
    ) -> Cluster:
        """Prepare directory, ports and data of a cluster, and start nothing.

        ``brokers`` None is as many as the directory has data of, else 3. Of ``preferred_port`` and those
        after it the free ones are taken; all of ``ports_from`` must be free. Raises as :meth:`start` does.
        """
        temporary = directory is None
        layout = Layout(directory or new_temporary())
        layout.create()
        lock = Lock.acquire(layout)
        fresh = layout.is_fresh()
        held = ports.Held(())
        try:
            known = _known(layout, brokers)
            count = len(known.nodes) if known else brokers or 3
            checks.require_memory(count, heap_mb)
            checks.require_disk(layout.root, count)
            identity = Identity(
                cluster_id=known.cluster_id if known else new_id(),
                kafka=KAFKA_VERSION,
                nodes=_nodes(count, known, ports_from, preferred_port),
                keep=(not temporary) if keep is None else keep,
            )
            held = ports.Held(port for node in identity.nodes for port in (node.port, node.controller_port))
            runtime = prepare(notify)
            return cls(layout, lock, held, identity, _brokers(layout, identity, runtime, heap_mb, optimize))
        except BaseException:
            held.release()
            if fresh:
                layout.remove()
            lock.release()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of every broker, parted by commas."""
        return ",".join(f"{LOOPBACK}:{broker.port}" for broker in self.brokers.values())

    @property
    def directory(self) -> Path:
        return self._layout.root

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def cluster_id(self) -> str:
        return self._identity.cluster_id

    @property
    def keep(self) -> bool:
        """Whether :meth:`stop` leaves the data."""
        return self._identity.keep

    @keep.setter
    def keep(self, keep: bool) -> None:
        # Written down, for what is not to be kept is removed at the next start if this process is killed.
        self._identity = msgspec.structs.replace(self._identity, keep=keep)
        self._layout.write_identity(self._identity)

    def launch(self) -> None:
        """Start every broker, without waiting for any. Raises Fault when a process cannot be started."""
        for number in self.brokers:
            self.launch_one(number)

    def launch_one(self, number: int) -> None:
        """Start one broker that is not running, without waiting for it."""
        broker = self.broker(number)
        if broker.pid is not None:
            raise Fault(f"broker {number} is already running (pid {broker.pid})")
        try:
            broker.launch()
        except OSError as error:
            raise Fault(
                f"broker {number} cannot be started: {error}", "see that the disk is not full"
            ) from error

    def broker(self, number: int) -> Broker:
        """Raises Fault where there is no such broker."""
        if number not in self.brokers:
            numbers = ", ".join(map(str, self.brokers))
            raise Fault(f"there is no broker {number}", f"the cluster has: {numbers}")
        return self.brokers[number]

    def kill(self, number: int) -> None:
        """SIGKILL one broker, as a crash would, and wait until its process is gone."""
        self.broker(number).kill()

    def restart(self, number: int, timeout: float = READY_S) -> None:
        """End one broker gracefully if it runs, start it with its data, and wait until it is ready."""
        broker = self.broker(number)
        self._end([broker], time.monotonic() + STOP_S, _nothing)
        self.launch_one(number)
        self.wait_ready(timeout)

    def pause(self, number: int) -> None:
        """SIGSTOP: the broker keeps its connections and does not answer, as a machine that hangs."""
        self.broker(number).pause()

    def resume(self, number: int) -> None:
        """SIGCONT after :meth:`pause`."""
        self.broker(number).resume()

    def wait_ready(self, timeout: float = READY_S, tick: Callable[[], None] = _nothing) -> None:
        """Wait until every broker that is not stopped answers, and sees all of these and a controller.

        ``tick`` is called about twenty times a second meanwhile, and may raise to end the wait. Raises
        BrokersUnreachable with the last lines of the log of a broker that ended or does not answer.
        """
        expected = {number for number, broker in self.brokers.items() if broker.exit_code is None}
        deadline = time.monotonic() + timeout
        waiting = sorted(expected)
        while waiting:
            tick()
            for number in expected:
                if self.brokers[number].exit_code is not None:
                    raise self._unready(number, f"ended while starting ({self.brokers[number].ending})")
            if self.sees(waiting[0], expected):
                waiting.pop(0)
                continue
            if time.monotonic() > deadline:
                raise self._unready(waiting[0], f"was not ready after {timeout:.0f} s")
            time.sleep(_POLL_S)

    def sees(self, number: int, expected: set[int]) -> bool:
        """Whether a broker answers, for this cluster, and knows the ``expected`` brokers and a controller."""
        view = ask(self.brokers[number].port, timeout=1.0)
        if view is None or view.cluster_id != self._identity.cluster_id:
            return False
        return view.brokers >= expected and view.controller > 0

    def _unready(self, number: int, what: str) -> Fault:
        broker = self.brokers[number]
        lines = broker.last_lines()
        quoted = "; its last lines were:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
        remedy = f"see {broker.log}" if self.keep else "name a directory to have the whole log afterwards"
        return BrokersUnreachable(f"broker {number} {what}{quoted}", remedy)

    def stop(
        self, *, hasten: bool = False, timeout: float = STOP_S, tick: Callable[[], None] = _nothing
    ) -> None:
        """Stop every broker and release the directory, its data kept or removed as chosen. Twice is as once.

        Kept data: SIGTERM to all at once, then SIGKILL to those that still run after ``timeout`` seconds, or
        once ``tick`` raises InterruptedError. Data that is removed anyway needs no farewell: SIGKILL at once.
        """
        if self._stopped:
            return
        self._stopped = True
        grace = 0.0 if hasten or not self.keep else timeout
        try:
            self._end(list(self.brokers.values()), time.monotonic() + grace, tick)
            if self.keep:
                self._layout.control.unlink(missing_ok=True)
            else:
                self._layout.remove()
        finally:
            self._ports.release()
            self._lock.release()

    def _end(self, brokers: list[Broker], deadline: float, tick: Callable[[], None]) -> None:
        running = [broker for broker in brokers if broker.pid is not None]
        try:
            if time.monotonic() < deadline:
                for broker in running:
                    broker.terminate()
            while time.monotonic() < deadline and any(broker.pid is not None for broker in running):
                tick()
                time.sleep(_POLL_S)
        except InterruptedError:
            pass  # Asked to hasten.
        finally:
            for broker in running:
                broker.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _known(layout: Layout, brokers: int | None) -> Identity | None:
    """The identity of the data that is there and to be used; leftovers of a trial are removed."""
    known = layout.read_identity()
    if known and not known.keep:
        layout.discard()
        return None
    if known and brokers not in (None, len(known.nodes)):
        raise ConfigurationFault(
            f"{layout.root} holds the data of a cluster of {len(known.nodes)}, not of {brokers}",
            f"use --brokers {len(known.nodes)}, or name another directory with --dir",
        )
    return known


def _nodes(
    count: int, known: Identity | None, ports_from: int | None, preferred_port: int | None
) -> tuple[Node, ...]:
    former = [node.port for node in known.nodes] if known else []
    if ports_from is not None:
        chosen = ports.consecutive(ports_from, count)
    else:
        wished = former or ([preferred_port + n for n in range(count)] if preferred_port else [])
        chosen = ports.choose(count, preferred=wished)
    controllers = ports.choose(
        count, preferred=[node.controller_port for node in known.nodes] if known else (), taken=chosen
    )
    pairs = zip(chosen, controllers, strict=True)
    return tuple(Node(number, port, controller) for number, (port, controller) in enumerate(pairs, 1))


def _brokers(
    layout: Layout, identity: Identity, runtime: Runtime, heap_mb: int, optimize: bool
) -> dict[int, Broker]:
    """Write each node's configuration and data directory; the brokers, not started."""
    brokers = {}
    for node in identity.nodes:
        data, properties = layout.data(node.number), layout.properties(node.number)
        try:
            text = render(node.number, identity.nodes, data)
            properties.write_text(text, encoding="ascii")
        except ValueError as error:
            raise ConfigurationFault(str(error), "name another directory with --dir") from error
        except OSError as error:
            raise Fault(
                f"{properties} cannot be written: {error.strerror}", "name another directory with --dir"
            ) from error
        prepare_data(data, node.number, identity.cluster_id, runtime.bootstrap)
        command = runtime.broker_command(properties.name, heap_mb, optimize=optimize)
        brokers[node.number] = Broker(node, command, layout.root, layout.log(node.number))
    # Last: from here on the data in the directory is that of this cluster.
    layout.write_identity(identity)
    return brokers
