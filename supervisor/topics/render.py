"""A plan as text for people and as JSON for machines. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from supervisor.topics.model import (
    Action,
    ChangeConfig,
    CreateTopic,
    ExtendTopic,
    Observed,
    PlacementWarning,
    Plan,
    Refusal,
    ReplicationDrift,
)

__all__ = ["Line", "PlanDocument", "document", "lines", "sentence"]

Mark = Literal["+", "~", "!", "x", "?", ""]


class Line(Struct, frozen=True):
    """``mark``: + create, ~ change, ! drift that cannot be changed here, x refused, ? warning."""

    mark: Mark
    text: str


class PlanDocument(Struct, frozen=True, kw_only=True):
    """What ``--json`` prints; ``docs/topics.md`` describes each field. ``version`` changes when one changes
    its meaning or goes away, not when one is added."""

    version: int
    cluster_id: str
    brokers: tuple[int, ...]
    verdict: Literal["same", "differs", "refused"]
    actions: tuple[Action, ...]
    drift: tuple[ReplicationDrift, ...]
    refusals: tuple[Refusal, ...]
    warnings: tuple[PlacementWarning, ...]


def document(plan: Plan, observed: Observed) -> PlanDocument:
    return PlanDocument(
        version=1,
        cluster_id=observed.cluster_id,
        brokers=tuple(broker.id for broker in observed.brokers),
        verdict=plan.verdict,
        actions=plan.actions,
        drift=plan.drift,
        refusals=plan.refusals,
        warnings=plan.warnings,
    )


def sentence(action: Action, *, done: bool = False) -> str:
    """One action in a few words, as in a log line; ``done`` puts it into the past."""
    past = "d" if done else ""
    match action:
        case CreateTopic():
            factor = f"replication factor {action.replication_factor}"
            return f"create{past} topic {action.topic}: {_count(action.partitions, 'partition')}, {factor}"
        case ExtendTopic():
            verb = "extended" if done else "extend"
            return f"{verb} topic {action.topic}: {action.before} -> {action.after} partitions"
        case ChangeConfig():
            return f"configure{past} topic {action.topic}: " + ", ".join(
                f"{change.key} {change.before} -> {change.after}" for change in action.changes
            )


def lines(plan: Plan, observed: Observed) -> list[Line]:
    """The plan from top to bottom; the first line names the cluster, the last one sums up."""
    head = Line("", f"cluster {observed.cluster_id}, {_count(len(observed.brokers), 'live broker')}")
    body = [line for action in plan.actions for line in _action_lines(action)]
    body += [
        Line(
            "!",
            f"topic {drift.topic} has replication factor {drift.observed}, declared {drift.declared}",
        )
        for drift in plan.drift
    ]
    body += [Line("x", f"refused: {refusal.cause}") for refusal in plan.refusals]
    body += [Line("?", f"warning: {warning.text}") for warning in plan.warnings]
    return [head, *body, Line("", _summary(plan))]


def _action_lines(action: Action) -> list[Line]:
    match action:
        case CreateTopic():
            config = [Line("+", f"    {key} = {value}") for key, value in sorted(action.config.items())]
            return [Line("+", sentence(action)), *config]
        case ExtendTopic():
            effect = "    from then on a key's records may go to another partition than before"
            return [Line("~", sentence(action)), Line("~", effect)]
        case ChangeConfig():
            changes = [
                Line("~", f"    {change.key}: {change.before} -> {change.after}") for change in action.changes
            ]
            return [Line("~", f"configure topic {action.topic}:"), *changes]


def _summary(plan: Plan) -> str:
    if plan.verdict == "same":
        return "nothing to do: the topics are as declared"
    counts = [
        (_of(plan.actions, CreateTopic), "to create"),
        (_of(plan.actions, ExtendTopic), "to extend"),
        (_of(plan.actions, ChangeConfig), "to configure"),
        (len(plan.drift), "with another replication factor"),
        (len(plan.refusals), "refused"),
    ]
    return ", ".join(f"{number} {what}" for number, what in counts if number)


def _of(actions: Sequence[Action], kind: type[Action]) -> int:
    return sum(isinstance(action, kind) for action in actions)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
