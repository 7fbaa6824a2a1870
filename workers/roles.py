"""The roles a worker process can take, and how each is built. Importing it loads the Kafka client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from supervisor.contract.board import Board, WorkerSlot
from supervisor.contract.messages import Prepare, Report, Serve
from supervisor.contract.settings import Settings
from workers import pipeline as pipelines
from workers import sinks
from workers.main import WorkerRole
from workers.olap.partition import changelog, transaction
from workers.olap.preparation import Preparation, PreparedPartition
from workers.olap.warmth import WarmClients, Warmth, close_beside
from workers.olap.worker import OlapWorker
from workers.pipeline import Pipeline
from workers.realtime import RealtimeWorker

__all__ = ["build", "load_pipeline", "prepare", "warm_up"]


def load_pipeline(settings: Settings) -> Pipeline:
    return pipelines.load(settings.app.pipeline)


def warm_up(settings: Settings) -> Warmth:
    """Begin to connect clients for a role that is not known yet."""
    return Warmth(settings)


def prepare(settings: Settings, pipeline: Pipeline, asked: Prepare) -> Preparation:
    """Begin to do what can be done for partitions that are likely to be an OLAP worker's next."""
    return Preparation(asked, partial(transaction, settings, pipeline), partial(changelog, settings))


def build(
    serve: Serve,
    settings: Settings,
    pipeline: Pipeline,
    board: Board,
    slot: WorkerSlot,
    tell: Callable[[Report], None],
    warm: WarmClients | None = None,
    prepared: Mapping[int, PreparedPartition] | None = None,
) -> WorkerRole:
    """The object that fills the role of ``serve``; nothing has been opened yet.

    ``prepared`` is by partition; what the role has no use for is closed.
    """
    mine = serve.partitions if serve.role == "olap" else ()
    close_beside(*(one for partition, one in (prepared or {}).items() if partition not in mine))
    if serve.role == "olap":
        return OlapWorker(
            settings,
            pipeline,
            board,
            slot,
            serve.partitions,
            contested=serve.contested,
            suspects=serve.suspects,
            topic_id=serve.topic_id,
            warm=warm,
            prepared=prepared,
        )
    if warm is not None:
        close_beside(*warm)
    if serve.role == "realtime":
        return RealtimeWorker(
            settings,
            pipeline,
            board,
            slot,
            serve.partitions,
            sinks.open_sinks(settings.realtime, board.path.parent),
        )
    # It alone needs the admin client and the topics; the others need not pay for the imports.
    from workers.probe import Probe

    return Probe(settings, board, slot, tell)
