"""The status board: one memory-mapped file in which every process writes down what it is doing.

Rules: one writer per slot, 64-bit words, no locks. A lock shared with a process that gets SIGKILL is a
deadlock; an aligned 64-bit word is written and read in one piece, so none is needed. A reader may see
words of two moments side by side, never half a word. The file outlives its writers: after a SIGKILL it
still says which offset was in hand.

Layout, in words::

    header | seats | worker slots | then per partition: OLAP | real-time | topic | assignment slots

Times are ``time.monotonic_ns()``, which all processes of one machine share.
"""

from __future__ import annotations

import mmap
import os
import time
from enum import IntEnum
from pathlib import Path
from typing import Self

from supervisor.contract.faults import Fault
from supervisor.contract.histogram import BUCKETS, Histogram

__all__ = [
    "Assignment",
    "Board",
    "Header",
    "OlapPartition",
    "Phase",
    "RealtimePartition",
    "Role",
    "Seat",
    "Stage",
    "TopicPartition",
    "WorkerSlot",
]

_MAGIC = 0x4B53_424F_4152_4402  # "KSBOARD", format 2
_WORD = 8


class Role(IntEnum):
    NONE = 0
    SPARE = 1
    OLAP = 2
    REALTIME = 3
    PROBE = 4


class Phase(IntEnum):
    """What the supervisor as a whole is doing."""

    STARTING = 0
    RUNNING = 1
    RELOADING = 2
    """Workers are being replaced in order: a reload, a restart, a change of their number, a limit that one of
    them has reached."""
    STOPPING = 3


class Stage(IntEnum):
    """Where a worker is in its loop. Written by the worker alone."""

    NONE = 0
    STARTING = 1
    STANDBY = 2
    FENCING = 3
    RESTORING = 4
    CONSUMING = 5
    PROCESSING = 6
    SENDING_OFFSETS = 7
    COMMITTING = 8
    DRAINING = 9
    STOPPED = 10


class _Word:
    """One 64-bit word of a slot, by its place in it."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, slot: _Slot, owner: object = None) -> int:
        return slot.words[self._place]

    def __set__(self, slot: _Slot, value: int) -> None:
        slot.words[self._place] = value


class _Slot:
    """A run of words with one writer."""

    SIZE = 0

    def __init__(self, words: memoryview[int]) -> None:
        self.words = words

    def clear(self) -> None:
        """Set every word to zero, as the next writer expects to find it."""
        for place in range(self.SIZE):
            self.words[place] = 0


class Header(_Slot):
    """Written by the supervisor, except for the brokers' health, which the probe writes."""

    SIZE = 24
    magic = _Word(0)
    workers = _Word(1)
    partitions = _Word(2)
    supervisor_pid = _Word(3)
    started_ns = _Word(4)
    topic_partitions = _Word(5)
    seats = _Word(6)
    brokers_answered_ns = _Word(7)
    """When a broker last answered the probe."""
    brokers_asked_ns = _Word(8)
    brokers_alive = _Word(9)
    phase = _Word(10)
    """A :class:`Phase`."""
    deaths = _Word(11)
    """Deaths of workers that count against a budget, since the supervisor started."""
    partition_rate = _Word(12)
    """Events a second that an OLAP worker may process of each of its partitions, zero for as many as it can.
    The workers read it at every turn; so it is what reaches them of the governor."""
    olap_rate = _Word(13)
    """The same for all partitions together, as the governor has decided it."""
    governor = _Word(14)
    """A ``governor.State``: why the rate is what it is."""
    delay_ms = _Word(15)
    """What the governor went by last: how late events are shown, beyond what is always so."""
    limited = _Word(16)
    """How often the governor has begun to hold the OLAP side back."""


class Seat(_Slot):
    """One place to be filled by a worker, such as ``olap-2``, over all its restarts. Written by the
    supervisor."""

    SIZE = 24
    role = _Word(0)
    index = _Word(1)
    worker = _Word(2)
    """Worker slot + 1 of the process that fills it; zero while it is vacant."""
    restarts = _Word(3)
    exit_code = _Word(4)
    """How the last one ended, negative for a signal."""
    noticed_ns = _Word(5)
    """When the supervisor noticed the last death."""
    refilled_ns = _Word(6)
    """When a process was given the seat."""
    owned_ns = _Word(7)
    """When that process said that it owns its partitions; zero before."""
    pid = _Word(8)
    state = _Word(9)
    """A ``lifecycle.State``."""
    retry_ns = _Word(10)
    """When the seat will be filled again, while it waits out a backoff; else zero."""
    cause = _Word(11)
    """Why the last one ended: a ``policy.Cause``."""
    generation = _Word(12)
    """Which configuration and code the process in it has: 1 at the start, one more with each reload."""
    nice = _Word(13)
    cpus = _Word(14)
    """The CPUs it may use, one bit each; zero for all, and where one of them is above 62."""
    cpu_weight = _Word(15)
    """Its weight in cgroup v2; zero where there is none."""
    rss_bytes = _Word(16)
    """Resident memory at the last look; zero before."""
    recycled = _Word(17)
    """How often its process was replaced because of its age, its count of events or its memory."""


class WorkerSlot(_Slot):
    """One worker process, written by it alone once it runs."""

    SIZE = 32 + BUCKETS
    pid = _Word(0)
    role = _Word(1)
    index = _Word(2)
    stage = _Word(3)
    heartbeat_ns = _Word(4)
    started_ns = _Word(5)
    ready_ns = _Word(6)
    """When it was ready for its role; zero before."""
    events = _Word(7)
    bad = _Word(8)
    """Records that could not be decoded or transformed."""
    shown = _Word(9)
    partitions = _Word(10)
    partition = _Word(11)
    """Partition + 1 that it is working on; zero while it is on none."""
    served_ns = _Word(12)
    """When it had heard of its role; zero before."""
    warm = _Word(13)
    """Whether it has clients that are connected ahead of its role, or had them when it got one."""
    log_dropped = _Word(14)
    """Log lines that it could not put out, since it started: the log waits for nobody."""

    def enter(self, stage: Stage) -> None:
        """Note that the work has come to ``stage``, now: to get there is a heartbeat."""
        self.stage = stage
        self.heartbeat_ns = time.monotonic_ns()

    @property
    def latency(self) -> Histogram:
        """Age of events at delivery."""
        return Histogram(self.words[32 : 32 + BUCKETS])


class OlapPartition(_Slot):
    """One partition on the OLAP side, written by the worker that owns it."""

    SIZE = 20
    position = _Word(1)
    """The offset to be consumed next."""
    committed = _Word(2)
    """The offset up to which output is committed."""
    in_hand = _Word(3)
    """First offset of what is being processed. Unless it is below :attr:`in_hand_end`, nothing is: a death
    then is no record's fault."""
    in_hand_end = _Word(4)
    """The offset behind it."""
    events = _Word(5)
    """Records processed and committed since the supervisor started; so are the next three."""
    outputs = _Word(6)
    dead_letters = _Word(7)
    late = _Word(8)
    transactions = _Word(9)
    committed_ns = _Word(10)
    """When the last transaction was committed."""
    owned_ns = _Word(11)
    filtered = _Word(12)
    lost = _Word(13)
    """Records that retention removed before they were processed, accepted by olap.on_lost_offsets."""
    quarantined = _Word(14)
    """Records that killed their workers and went to the dead letters untouched; they are among
    :attr:`dead_letters`."""
    bad_run = _Word(15)
    """Dead letters in a row up to :attr:`committed`. With the next two it is what a successor counts on from
    towards the limits of [dlq]."""
    window_events = _Word(16)
    """Events in the window of dlq.max_ratio."""
    window_bad = _Word(17)
    """Dead letters among them."""
    fenced_ns = _Word(18)
    """When its owner had ended what the former owner left open."""
    fetched_ns = _Word(19)
    """When its owner had the first records in hand."""
    committing = _Word(0)
    """The offset that its owner has asked the brokers to commit last: if it has died since, nobody knows
    whether they have."""


class RealtimePartition(_Slot):
    """One partition on the real-time side, written by the real-time worker."""

    SIZE = 8
    position = _Word(0)
    committed = _Word(1)
    in_hand = _Word(2)
    """As on the OLAP side: what is being processed, if it is below :attr:`in_hand_end`."""
    in_hand_end = _Word(3)
    suspect = _Word(4)
    """First offset of what a worker died with in hand; its successors take these records one at a time."""
    suspect_end = _Word(5)
    deaths = _Word(6)
    """How many workers died with it in hand."""


class TopicPartition(_Slot):
    """One partition of the input topic, written by the probe."""

    SIZE = 4
    end = _Word(1)
    """The offset after the last record."""
    seen_ns = _Word(2)


class Assignment(_Slot):
    """What the supervisor has decided about one partition, and what it knows of its past. Written by it."""

    SIZE = 8
    seat = _Word(0)
    """Place + 1 of the seat that is to own it; zero before that is decided."""
    parked_ns = _Word(1)
    """When it was parked: nobody serves it until a person says so. Zero otherwise."""
    parked_cause = _Word(2)
    """A ``policy.Cause``."""
    deaths = _Word(3)
    """Deaths of its workers, since the supervisor started."""
    unowned_ns = _Word(4)
    """How long nobody owned it, in all, after it was first owned."""


class Board:
    """The whole file. Create it with :meth:`create`, join it with :meth:`open`."""

    def __init__(self, path: Path, memory: mmap.mmap, workers: int, partitions: int) -> None:
        self.path = path
        self.workers = workers
        self.partitions = partitions
        self._memory = memory
        self._words: memoryview[int] = memoryview(memory).cast("q")
        self._seat_base = Header.SIZE
        self._worker_base = self._seat_base + workers * Seat.SIZE
        self._olap_base = self._worker_base + workers * WorkerSlot.SIZE
        self._realtime_base = self._olap_base + partitions * OlapPartition.SIZE
        self._topic_base = self._realtime_base + partitions * RealtimePartition.SIZE
        self._assignment_base = self._topic_base + partitions * TopicPartition.SIZE

    @staticmethod
    def _bytes(workers: int, partitions: int) -> int:
        per_partition = OlapPartition.SIZE + RealtimePartition.SIZE + TopicPartition.SIZE + Assignment.SIZE
        per_worker = Seat.SIZE + WorkerSlot.SIZE
        return _WORD * (Header.SIZE + workers * per_worker + partitions * per_partition)

    @classmethod
    def create(cls, path: Path, *, workers: int, partitions: int) -> Self:
        """Make a new board of this process, the supervisor's; a file of that name is replaced, never written
        into.

        A process of an earlier supervisor may still have the old file mapped: it keeps writing into a file
        that no longer has a name.
        """
        fresh = path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            memory = cls._allocate(fresh, cls._bytes(workers, partitions))
            board = cls(path, memory, workers, partitions)
            board.header.workers = workers
            board.header.partitions = partitions
            # Before the file has its name: by it a reader tells this board from a former supervisor's.
            board.header.supervisor_pid = os.getpid()
            board.header.magic = _MAGIC
            fresh.replace(path)
        except OSError as error:
            raise Fault(f"cannot create the status board {path}: {error.strerror}") from error
        return board

    @staticmethod
    def _allocate(path: Path, size: int) -> mmap.mmap:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Space is taken now: a full disk is an error here and not a SIGBUS in a worker.
            os.posix_fallocate(descriptor, 0, size)
            return mmap.mmap(descriptor, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Join a board.

        Raises :class:`Fault` if there is none or if it is of another format.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Fault(f"cannot open the status board {path}: {error.strerror}") from error
        try:
            size = os.fstat(descriptor).st_size
            if size < Header.SIZE * _WORD:
                raise Fault(f"{path} is not a status board")
            memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        header = Header(memoryview(memory).cast("q")[: Header.SIZE])
        if header.magic != _MAGIC or size != cls._bytes(header.workers, header.partitions):
            raise Fault(
                f"{path} is a status board of another version",
                "use the command of the same installation as the running supervisor",
            )
        return cls(path, memory, header.workers, header.partitions)

    @property
    def header(self) -> Header:
        return Header(self._words[: Header.SIZE])

    def seat(self, place: int) -> Seat:
        return Seat(self._slice(self._seat_base, Seat.SIZE, place, self.workers))

    def worker(self, slot: int) -> WorkerSlot:
        return WorkerSlot(self._slice(self._worker_base, WorkerSlot.SIZE, slot, self.workers))

    def olap(self, partition: int) -> OlapPartition:
        return OlapPartition(self._slice(self._olap_base, OlapPartition.SIZE, partition, self.partitions))

    def realtime(self, partition: int) -> RealtimePartition:
        return RealtimePartition(
            self._slice(self._realtime_base, RealtimePartition.SIZE, partition, self.partitions)
        )

    def topic(self, partition: int) -> TopicPartition:
        return TopicPartition(self._slice(self._topic_base, TopicPartition.SIZE, partition, self.partitions))

    def assignment(self, partition: int) -> Assignment:
        return Assignment(self._slice(self._assignment_base, Assignment.SIZE, partition, self.partitions))

    def _slice(self, base: int, size: int, index: int, count: int) -> memoryview[int]:
        if not 0 <= index < count:
            raise IndexError(f"slot {index} of {count}")
        start = base + index * size
        return self._words[start : start + size]
