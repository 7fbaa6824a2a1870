"""The roles a worker process can take, and how each is built. Importing it loads the Kafka client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from supervisor.contract.board import Board, WorkerSlot
from supervisor.contract.messages import Report, Serve
from supervisor.contract.settings import Settings
from workers import pipeline as pipelines
from workers import sinks
from workers.main import WorkerRole
from workers.olap import OlapWorker, transaction
from workers.pipeline import Pipeline
from workers.realtime import RealtimeWorker
from workers.transaction import Transaction
from workers.warmth import WarmClients, Warmth, close_beside

__all__ = ["build", "load_pipeline", "warm_up"]


def load_pipeline(settings: Settings) -> Pipeline:
    return pipelines.load(settings.app.pipeline)


def warm_up(settings: Settings, pipeline: Pipeline) -> Warmth:
    """Begin to connect clients for a role that is not known yet."""
    return Warmth(settings, partial(transaction, settings, pipeline))


def build(
    serve: Serve,
    settings: Settings,
    pipeline: Pipeline,
    board: Board,
    slot: WorkerSlot,
    tell: Callable[[Report], None],
    warm: WarmClients | None = None,
    transactions: Mapping[int, Transaction] | None = None,
) -> WorkerRole:
    """The object that fills the role of ``serve``; nothing has been opened yet."""
    if serve.role == "olap":
        return OlapWorker(
            settings,
            pipeline,
            board,
            slot,
            serve.partitions,
            contested=serve.contested,
            suspects=serve.suspects,
            warm=warm,
            transactions=transactions,
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
