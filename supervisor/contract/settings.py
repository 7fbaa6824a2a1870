"""The one configuration that every process shares, as typed structs with their defaults.

Nothing here reads files or the environment (see ``supervisor.config``). A field's name is its key in the
TOML file, its environment variable (``SUPERVISOR_OLAP_COMMIT_INTERVAL_MS``) and its row in
``supervisor config show``. Fields whose name ends in ``_ms`` or ``_s`` are milliseconds and seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

__all__ = [
    "App",
    "Dlq",
    "Health",
    "HookEvent",
    "Hooks",
    "Jsonl",
    "Kafka",
    "Limits",
    "Log",
    "Olap",
    "Realtime",
    "Restart",
    "Runtime",
    "Scalar",
    "Settings",
    "Topic",
    "TopicName",
    "Topics",
]

Scalar = str | int | float | bool
Count = Annotated[int, Meta(ge=1)]
WholeCount = Annotated[int, Meta(ge=0)]
Nice = Annotated[int, Meta(ge=0, le=19)]
# It becomes a directory and a part of topic names, so . and .. are out; `$` would let a newline through.
Name = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]+\Z",
        max_length=100,
        description="letters, digits, dots, underscores and hyphens, at most 100",
    ),
]
TopicName = Literal["input", "output", "aggregates", "dlq", "changelog"]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class App(_Section, frozen=True):
    """[app]"""

    name: Name = "logins"
    """Names this installation: prefix of consumer groups and transactional ids, and of the run directory."""
    pipeline: str = "workers.logins"
    """Module with the pipeline; your own module's name puts your own pipeline in its place."""


class Kafka(_Section, frozen=True):
    """[kafka]"""

    bootstrap_servers: Annotated[str, Meta(min_length=1)] = "127.0.0.1:9092"
    """Brokers to ask first, host:port, separated by commas."""
    cluster_id: str = ""
    """If set, any other cluster is refused."""
    client: dict[str, Scalar] = field(default_factory=dict)
    """Passed to librdkafka as it is: TLS, SASL, OAuth and the like."""


class Topic(_Section, frozen=True):
    """[topics.input], [topics.output] and so on: one declared topic."""

    name: Name
    """Name of the topic in Kafka."""
    partitions: Count | None = None
    """Number of partitions; as in [topics] if not set."""
    replication_factor: Count | None = None
    """Copies of each partition; as in [topics] if not set."""
    min_insync_replicas: Count | None = None
    """Copies that must have a record before it counts as written; as in [topics] if not set."""
    retention_ms: Annotated[int, Meta(ge=-1)] | None = None
    """How long records are kept; -1 for ever; the brokers' default if not set."""
    cleanup_policy: Literal["delete", "compact", "compact,delete"] = "delete"
    """Remove old records by age (delete), all but the newest of each key (compact), or both."""
    config: dict[str, Scalar] = field(default_factory=dict)
    """Any other topic configuration of Kafka's, such as "max.message.bytes"."""


_DAY_MS = 24 * 60 * 60 * 1000
# An input record may be as large as Kafka's default limit (1,048,588 bytes). Enrichment and the headers of a
# dead letter make it larger, so what we write to accepts twice as much.
_OUTPUT_LIMITS: dict[str, Scalar] = {"max.message.bytes": 2_097_152}
# A changelog is read back at every start: small segments and an early cleaner keep that short.
_COMPACTED: dict[str, Scalar] = {
    **_OUTPUT_LIMITS,
    "segment.bytes": 16_777_216,
    "segment.ms": 600_000,
    "min.cleanable.dirty.ratio": 0.1,
}


class Topics(_Section, frozen=True):
    """[topics]: what the bootstrap creates, and what holds for each topic that does not say otherwise."""

    partitions: Count = 4
    """Partitions of every topic: one OLAP worker can serve each."""
    replication_factor: Count = 3
    """Copies of each partition, each on a broker of its own."""
    min_insync_replicas: Count = 2
    """Copies that must have a record before it counts as written."""
    input: Topic = field(default_factory=lambda: Topic(name="user-login", retention_ms=7 * _DAY_MS))
    """What is processed."""
    output: Topic = field(
        default_factory=lambda: Topic(
            name="processed-data", retention_ms=7 * _DAY_MS, config=dict(_OUTPUT_LIMITS)
        )
    )
    """Where enriched events go."""
    aggregates: Topic = field(
        default_factory=lambda: Topic(
            name="login-aggregates", cleanup_policy="compact", config=dict(_COMPACTED)
        )
    )
    """Where counts go: the last record of a key is its count."""
    dlq: Topic = field(
        default_factory=lambda: Topic(
            name="user-login-dlq", retention_ms=30 * _DAY_MS, config=dict(_OUTPUT_LIMITS)
        )
    )
    """Where records go that cannot be processed."""
    changelog: Topic = field(
        default_factory=lambda: Topic(
            name="login-changelog", cleanup_policy="compact", config=dict(_COMPACTED)
        )
    )
    """Where the workers keep their state; they read it back at start."""

    def declared(self) -> dict[TopicName, Topic]:
        """Every topic with its inherited values filled in, in the order in which they are created."""
        names: tuple[TopicName, ...] = ("input", "output", "aggregates", "dlq", "changelog")
        return {name: self._resolved(getattr(self, name)) for name in names}

    def _resolved(self, topic: Topic) -> Topic:
        return Topic(
            name=topic.name,
            partitions=topic.partitions or self.partitions,
            replication_factor=topic.replication_factor or self.replication_factor,
            min_insync_replicas=topic.min_insync_replicas or self.min_insync_replicas,
            retention_ms=topic.retention_ms,
            cleanup_policy=topic.cleanup_policy,
            config=topic.config,
        )


class Olap(_Section, frozen=True):
    """[olap]: the exactly-once workers."""

    workers: WholeCount = 0
    """Number of OLAP workers; 0 is one per partition."""
    commit_interval_ms: Annotated[int, Meta(ge=1, le=60_000)] = 100
    """A transaction is committed at least this often by a partition that keeps up."""
    backlog_interval_ms: Annotated[int, Meta(ge=1, le=60_000)] = 1_000
    """The same while there is a backlog, if it is longer: a commit costs the same whatever is in it."""
    commit_events: Count = 100_000
    """A transaction is committed when it holds this many events."""
    batch_events: Annotated[int, Meta(ge=1, le=1_000_000)] = 4_000
    """Events fetched and decoded in one step."""
    transaction_timeout_ms: Annotated[int, Meta(ge=1_000)] = 60_000
    """The broker ends a transaction that its worker left open for this long."""
    on_lost_offsets: Literal["fail", "earliest"] = "fail"
    """What to do when retention removed records that were never processed: stop, or go on behind the gap."""
    on_lost_state: Literal["fail", "restart"] = "fail"
    """What to do when the group has an offset but the changelog is empty: stop, or count from zero."""
    aggregates: bool = True
    """Count the pipeline's dimensions into the aggregates topic."""
    floor_events_s: Count = 2_000
    """However late real-time events are, the OLAP side may process this many events a second, all workers
    together, and always a quarter more than arrive."""
    window_retention_s: Count = 7 * 24 * 60 * 60
    """Minute windows this far behind the newest event are closed; later events count in the totals alone."""
    cpus: list[WholeCount] = field(default_factory=list)
    """CPUs that OLAP workers may use, shared out among them; empty lets the supervisor choose."""
    nice: Nice = 10
    """Scheduling priority of the workers, as nice(1) counts: 0 is normal, 19 gives way to all others."""


class Jsonl(_Section, frozen=True):
    """[realtime.jsonl]: the rotated file of the `jsonl` sink."""

    path: str = ""
    """File to append to; empty is events.jsonl in the run directory."""
    max_bytes: Count = 64 * 1024 * 1024
    """The file is rotated before it grows beyond this."""
    keep: WholeCount = 5
    """Rotated files kept."""


class Realtime(_Section, frozen=True):
    """[realtime]: the low-latency, at-least-once worker."""

    enabled: bool = True
    """Run the real-time worker."""
    sinks: list[Literal["stdout", "jsonl", "live"]] = field(default_factory=lambda: ["live"])
    """Where events are shown: stdout, a JSONL file, the live feed on a unix socket."""
    jsonl: Jsonl = field(default_factory=Jsonl)
    """The rotated file of the `jsonl` sink."""
    commit_interval_ms: Annotated[int, Meta(ge=10)] = 1_000
    """Offsets are committed this often; a crash repeats at most this much."""
    start: Literal["committed", "latest"] = "committed"
    """Go on where the last run stopped, or show only what arrives from now on."""
    slo_p99_ms: Annotated[float, Meta(ge=0)] = 50.0
    """The OLAP side is held back while more than one in a hundred events is shown later than this; 0 never
    holds it back."""
    cpus: list[WholeCount] = field(default_factory=list)
    """CPUs the worker may use; empty lets the supervisor choose."""
    nice: Nice = 0
    """Scheduling priority of the worker, as nice(1) counts: 0 is normal, 19 gives way to all others."""


class Runtime(_Section, frozen=True):
    """[runtime]: the supervisor itself."""

    run_dir: str = ""
    """Board, sockets and lock; empty is a directory of the app's name under $RUNTIME_DIRECTORY,
    $XDG_RUNTIME_DIR or the temporary directory."""
    bootstrap: bool = True
    """Create and extend topics at start."""
    drain_timeout_s: Annotated[float, Meta(gt=0)] = 20.0
    """How long workers may take to finish, flush and commit, all of them together, before SIGKILL."""
    start_timeout_s: Annotated[float, Meta(gt=0)] = 30.0
    """How long a worker may take from its start to being ready for a role."""
    max_starting: WholeCount = 0
    """Processes that may be starting at the same time; 0 is one per CPU."""
    spares: WholeCount = 1
    """Processes kept ready to take over from one that dies."""
    canary_s: Annotated[float, Meta(ge=0)] = 5.0
    """How long a reload watches the first worker it has replaced before it goes on; 0 does not watch."""
    probe_interval_s: Annotated[float, Meta(gt=0)] = 1.0
    """How often end offsets and broker health are looked up."""


class Restart(_Section, frozen=True):
    """[restart]: when a dead worker is replaced, and when not any more."""

    backoff_first_s: Annotated[float, Meta(gt=0)] = 0.1
    """Wait before the second restart without committed progress; the first one is at once."""
    backoff_cap_s: Annotated[float, Meta(gt=0)] = 10.0
    """The wait doubles with each death up to this."""
    backoff_jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """The wait varies at random by this share of it, so that many workers do not return in step."""
    budget: Count = 10
    """Deaths of one partition's workers within the window that are answered by a restart."""
    budget_total: Count = 30
    """Deaths of all workers within the window that are answered by a restart."""
    window_s: Annotated[float, Meta(gt=0)] = 180.0
    """The window of both budgets."""
    when_spent: Literal["stop", "park"] = "stop"
    """Drain everything and exit with 70, or park the partition and let the others run."""


class Health(_Section, frozen=True):
    """[health]: how long a worker may show no sign of life before it is killed, by what it is doing."""

    idle_timeout_s: Annotated[float, Meta(gt=0)] = 30.0
    """While it consumes: that loop turns several times a second, also when there is nothing to do."""
    work_timeout_s: Annotated[float, Meta(gt=0)] = 60.0
    """While it processes a piece of a batch: one call of a pipeline may take that long."""
    brokers_timeout_s: Annotated[float, Meta(gt=0)] = 120.0
    """While it waits for brokers: longer than the Kafka client's own time-outs."""
    stall_timeout_s: Annotated[float, Meta(gt=0)] = 60.0
    """A partition with lag whose offset stands still for that long, while brokers answer, is stalled."""
    dump_grace_s: Annotated[float, Meta(gt=0)] = 2.0
    """Time for a stack dump between the verdict and SIGKILL."""


class Dlq(_Section, frozen=True):
    """[dlq]: when records that cannot be processed go to the dead letters, and when that must stop."""

    poison_deaths: Count = 3
    """A record at which this many workers died goes to the dead letters."""
    max_run: WholeCount = 1_000
    """Dead letters in a row that park a partition; 0 is no limit."""
    max_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of dead letters among the last dlq.ratio_events that parks a partition; 0 is no limit."""
    ratio_events: Count = 10_000
    """How many events that share is taken over; with fewer it is not looked at."""


class Limits(_Section, frozen=True):
    """[limits]: when a worker is replaced although nothing is wrong with it; 0 is no limit."""

    memory_soft_mb: WholeCount = 0
    """Resident memory above which a worker is drained and replaced, seen in memory_samples looks."""
    memory_hard_mb: WholeCount = 0
    """Resident memory above which a worker is killed at once."""
    memory_samples: Count = 3
    """Looks in a row above memory_soft_mb."""
    memory_interval_s: Annotated[float, Meta(gt=0)] = 5.0
    """Time between two looks."""
    max_events: WholeCount = 0
    """Events after which a worker is replaced."""
    max_age_s: Annotated[float, Meta(ge=0)] = 0.0
    """Age at which a worker is replaced."""
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Share by which max_events and max_age_s are varied, once for each process."""
    olap_cpu_weight: Annotated[int, Meta(ge=0, le=10_000)] = 50
    """cpu.weight of each OLAP worker in cgroup v2, where one is delegated; 0 leaves it alone."""
    realtime_cpu_weight: Annotated[int, Meta(ge=0, le=10_000)] = 400
    """cpu.weight of the real-time worker in cgroup v2, where one is delegated; 0 leaves it alone."""


HookEvent = Literal["gave-up", "hung", "stalled", "parked", "recovered", "quarantined"]


class Hooks(_Section, frozen=True):
    """[hooks]: whom to tell when a person should know."""

    command: str = ""
    """Program to run, with the event as JSON on its standard input."""
    webhook: str = ""
    """URL to which the event is posted as JSON."""
    on: list[HookEvent] = field(default_factory=lambda: ["gave-up", "hung", "stalled", "parked", "recovered"])
    """Which events."""
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    """How long one may take."""


class Log(_Section, frozen=True):
    """[log]"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["auto", "text", "json"] = "auto"
    """text for people, json for machines; auto is text on a terminal and json elsewhere."""
    directory: str = ""
    """Directory of the log files, one per worker and one of the supervisor; empty is log in the run
    directory."""
    files: bool = True
    """Write them; `supervisor logs` reads them. What is logged also goes to standard error."""
    max_bytes: Count = 4 * 1024 * 1024
    """A log file is rotated before it grows beyond this."""
    keep: WholeCount = 1
    """Rotated log files kept."""


class Settings(_Section, frozen=True):
    """The whole configuration."""

    app: App = field(default_factory=App)
    kafka: Kafka = field(default_factory=Kafka)
    topics: Topics = field(default_factory=Topics)
    olap: Olap = field(default_factory=Olap)
    realtime: Realtime = field(default_factory=Realtime)
    runtime: Runtime = field(default_factory=Runtime)
    restart: Restart = field(default_factory=Restart)
    health: Health = field(default_factory=Health)
    dlq: Dlq = field(default_factory=Dlq)
    limits: Limits = field(default_factory=Limits)
    hooks: Hooks = field(default_factory=Hooks)
    log: Log = field(default_factory=Log)
