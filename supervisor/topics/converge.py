"""Brings a cluster to what is declared: look, plan, carry out, look again, until nothing is left to do.

No lock is needed between two of these, nor anything to clean up after one that was killed. Every action is
one request that a broker takes or refuses by itself, and none is planned from memory: whoever was slower is
told that the topic exists already, or has that many partitions, looks again and finds the work done. Told so
when the actions are checked, it has changed nothing yet: a topic that it had not seen may be one to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault, Fault
from supervisor.contract.settings import Kafka, Settings
from supervisor.topics.changes import Changes
from supervisor.topics.connection import Connection, Deadline, Unsettled
from supervisor.topics.declaration import desire
from supervisor.topics.errors import refusals_fault
from supervisor.topics.model import Action, Desired, Observed, Plan, Refusal, ReplicationDrift
from supervisor.topics.observer import Observer
from supervisor.topics.placement import unready, unseen
from supervisor.topics.plan import plan
from supervisor.topics.render import sentence

__all__ = ["Survey", "apply", "bootstrap", "observe", "survey"]

_REACH_S = 10.0
_PAUSE_S = (0.02, 0.05, 0.1, 0.2)
_QUIET_ROUNDS = 8
_SILENCE_S = 2.0
"""Brokers that have answered nothing for so long are away, not merely slow."""

Report = Callable[[str], None]
Heed = Callable[[], None]
"""Called where it is safe to stop; raises if something came that ends the command."""


def _go_on() -> None:
    """Nothing ends it but its deadline."""


class Survey(Struct, frozen=True):
    """One look at the cluster and what follows from it."""

    desired: Sequence[Desired]
    observed: Observed
    plan: Plan


def observe(settings: Settings, timeout_s: float) -> Observed:
    """What is there of the declared topics; compares and changes nothing.

    Raises BrokersUnreachable, or ConfigurationFault if the cluster is another than ``kafka.cluster_id``."""
    return _Convergence(settings.kafka, desire(settings.topics)).observe(Deadline(timeout_s))


def survey(settings: Settings, timeout_s: float, *, heed: Heed = _go_on) -> Survey:
    """What differs; changes nothing. The brokers are asked to check each action, so that what they would
    refuse is among ``plan.refusals``.

    Raises BrokersUnreachable if there is no answer within ``timeout_s``, ConfigurationFault if the
    declaration contradicts itself or the cluster is another than ``kafka.cluster_id``."""
    deadline = Deadline(timeout_s)
    return _Convergence(settings.kafka, desire(settings.topics), heed).survey(deadline)


def apply(
    settings: Settings,
    timeout_s: float,
    *,
    approve: Callable[[Survey], bool] = lambda _: True,
    report: Report = lambda _: None,
    heed: Heed = _go_on,
    desired: Sequence[Desired] | None = None,
) -> Observed | None:
    """Make the cluster as declared, and wait until every live broker shows every topic with its leaders and
    enough replicas in sync. ``approve`` sees the plan first, once, if there is something to do; when it says
    no, nothing is changed and None is returned. ``timeout_s`` counts from there.

    Raises Fault, as ``bootstrap``; what was done up to then stays, and another run goes on from there."""
    wanted = desire(settings.topics) if desired is None else desired
    convergence = _Convergence(settings.kafka, wanted, heed)
    first = convergence.survey(Deadline(min(_REACH_S, timeout_s)))
    _refuse(first.plan.refusals, first.plan.drift)
    if first.plan.actions and not approve(first):
        return None
    convergence.confirm_all()
    return convergence.run(Deadline(timeout_s), report)


def bootstrap(
    settings: Settings, timeout_s: float, report: Report = lambda _: None, *, partitions: int = 0
) -> Observed:
    """What ``supervisor start`` does before its workers: plan and apply without asking.

    ``partitions`` is what the input has been given meanwhile: where fewer are declared, so many are wanted
    all the same.

    Returns what is actually there. With nothing to do it costs one look at one broker. Brokers that are away,
    or too few, are waited for. Placement is waited for only where this run changed something, so that a
    degraded cluster can be worked with, and more replicas than declared are no obstacle: that is how a
    running reassignment looks.

    Raises Fault if the topics cannot be had as declared in time, BrokersUnreachable if the brokers gave no
    answer, or none for the last two seconds of it."""
    desired = [
        msgspec.structs.replace(wanted, partitions=max(wanted.partitions, partitions))
        for wanted in desire(settings.topics)
    ]
    return _Convergence(settings.kafka, desired).run(Deadline(timeout_s), report, starting=True)


class _Wait(Struct, frozen=True):
    cause: str
    late: Fault
    """What is raised if the deadline passes before it is over."""


class _Convergence:
    def __init__(self, kafka: Kafka, desired: Sequence[Desired], heed: Heed = _go_on) -> None:
        self._kafka = kafka
        self._desired = desired
        self._names = [wanted.topic for wanted in self._desired]
        self._touched: set[str] = set()
        self._done: list[Action] = []
        self._connection = Connection(kafka, heed)
        self._observer = Observer(self._connection)
        self._changes = Changes(self._connection)

    def observe(self, deadline: Deadline) -> Observed:
        """Raises ConfigurationFault for another cluster than the one that is expected."""
        observed = self._observer.observe(self._names, deadline)
        expected = self._kafka.cluster_id
        if expected and observed.cluster_id != expected:
            raise ConfigurationFault(
                f"the brokers at {self._kafka.bootstrap_servers} are cluster {observed.cluster_id}, "
                f"and kafka.cluster_id is {expected}",
                "correct kafka.bootstrap_servers or kafka.cluster_id",
            )
        return observed

    def survey(self, deadline: Deadline) -> Survey:
        unsettled: Unsettled | None = None
        while True:
            try:
                observed, found = self._look(deadline)
                if found.actions and not found.refusals:
                    found = _with_refusals(found, self._changes.validate(found.actions, deadline))
                return Survey(self._desired, observed, found)
            except Unsettled as again:
                unsettled = again
            except BrokersUnreachable:
                if unsettled is None or self._away():
                    raise
            if deadline.passed():
                raise self._connection.disagreement(deadline, unsettled) from None
            self._connection.begin_again(deadline)

    def confirm_all(self) -> None:
        """Wait for every topic's placement, not just for those that this run changes."""
        self._touched.update(self._names)

    def run(self, deadline: Deadline, report: Report, *, starting: bool = False) -> Observed:
        """Look, plan and act until nothing is left to do or to wait for."""
        rounds = 0
        wait: _Wait | None = None
        while True:
            try:
                observed, wait = self._round(deadline, report, starting=starting)
            except BrokersUnreachable:
                if wait is None or self._away():
                    raise
                raise wait.late from None
            if wait is None:
                return observed
            if deadline.passed():
                raise wait.late
            if rounds == _QUIET_ROUNDS:
                report(f"waiting: {wait.cause}")
            deadline.pause(_PAUSE_S[min(rounds, len(_PAUSE_S) - 1)])
            rounds += 1

    def _away(self) -> bool:
        """Whether brokers without an answer are away. The deadline cuts the last look short: those that
        answered a moment ago have not gone away, and what was waited for before is the cause."""
        return self._connection.silent_s() > _SILENCE_S

    def _round(self, deadline: Deadline, report: Report, *, starting: bool) -> tuple[Observed, _Wait | None]:
        """What is there, and what is to be waited for before the next look; None once all is as declared."""
        observed, found = self._look(deadline)
        obstacles = _obstacles(found.drift, starting)
        if starting and _brokers_may_come(found.refusals):
            late = refusals_fault(_refused(found.refusals, obstacles))
            return observed, _Wait(found.refusals[0].cause, late)
        _refuse(found.refusals, obstacles)
        waiting = self._act(found, deadline, report) or self._waiting(observed, deadline)
        return observed, _Wait(waiting[0], self._late(waiting, deadline)) if waiting else None

    def _look(self, deadline: Deadline) -> tuple[Observed, Plan]:
        observed = self.observe(deadline)
        return observed, plan(self._desired, observed)

    def _act(self, found: Plan, deadline: Deadline, report: Report) -> list[str]:
        """Carry out what this run has not done already: of that, the metadata merely lags behind."""
        if not found.actions:
            return []
        todo = [action for action in found.actions if action not in self._done]
        if todo:
            try:
                _refuse(self._changes.validate(todo, deadline), ())
            except Unsettled as unsettled:
                return [str(unsettled)]
            self._touched.update(action.topic for action in todo)

            def done(action: Action) -> None:
                self._done.append(action)
                report(sentence(action, done=True))

            self._changes.apply(todo, deadline, done)
        return [f"not visible yet: {sentence(action)}" for action in found.actions]

    def _waiting(self, observed: Observed, deadline: Deadline) -> list[str]:
        desired = [wanted for wanted in self._desired if wanted.topic in self._touched]
        if not desired:
            return []
        waiting = unready(desired, observed)
        if not waiting:
            views = self._observer.views([wanted.topic for wanted in desired], observed.brokers, deadline)
            waiting = unseen(desired, observed, views)
        return waiting

    def _late(self, waiting: Sequence[str], deadline: Deadline) -> Fault:
        more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        return Fault(
            f"the topics were not ready within {deadline.timeout_s:g} s: {waiting[0]}{more}",
            "look at the brokers and run it again: what was done stays done",
        )


def _refuse(refusals: Sequence[Refusal], drift: Sequence[ReplicationDrift]) -> None:
    every = _refused(refusals, drift)
    if every:
        raise refusals_fault(every)


def _refused(refusals: Sequence[Refusal], drift: Sequence[ReplicationDrift]) -> list[Refusal]:
    return [*refusals, *map(_drift_refusal, drift)]


def _drift_refusal(drift: ReplicationDrift) -> Refusal:
    return Refusal(
        kind="replication",
        topic=drift.topic,
        setting=drift.setting,
        cause=f"topic {drift.topic} has replication factor {drift.observed} "
        f"and is declared with {drift.declared}",
        remedy=f"set {drift.setting} = {drift.observed}, or move replicas with kafka-reassign-partitions "
        "and the output of `supervisor topics plan --reassignment`",
    )


def _obstacles(drift: Sequence[ReplicationDrift], starting: bool) -> list[ReplicationDrift]:
    return [each for each in drift if not (starting and each.observed > each.declared)]


def _brokers_may_come(refusals: Sequence[Refusal]) -> bool:
    return bool(refusals) and all(refusal.kind == "brokers" for refusal in refusals)


def _with_refusals(found: Plan, refusals: Sequence[Refusal]) -> Plan:
    return Plan(
        actions=found.actions,
        drift=found.drift,
        refusals=(*found.refusals, *refusals),
        warnings=found.warnings,
    )
