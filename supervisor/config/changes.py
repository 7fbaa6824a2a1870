"""What differs between two configurations, and which workers that touches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import asdict

from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.settings import Settings

__all__ = ["changed", "require_changeable", "roles_touched"]

# Where our state is in Kafka, and where whoever looks for us looks: another name is another installation.
_FIXED = ("app.name", "runtime.run_dir", "topics.*.name")
_ALL = frozenset({"olap", "realtime", "probe"})
_NOBODY: frozenset[str] = frozenset()
# The first one that a key begins with says who has to be replaced. Nobody, where it is the supervisor's own.
_TOUCHES: tuple[tuple[str, frozenset[str]], ...] = (
    ("app.", frozenset({"olap", "realtime"})),
    ("kafka.", _ALL),
    ("topics.", frozenset({"probe"})),
    ("olap.workers", _NOBODY),
    ("olap.floor_events_s", _NOBODY),
    ("olap.", frozenset({"olap"})),
    ("dlq.poison_deaths", _NOBODY),
    ("dlq.", frozenset({"olap"})),
    ("realtime.enabled", _NOBODY),
    ("realtime.slo_p99_ms", _NOBODY),
    ("realtime.", frozenset({"realtime"})),
    ("runtime.probe_interval_s", frozenset({"probe"})),
    ("runtime.bootstrap", frozenset({"probe"})),
    ("log.", _ALL),
    ("", _NOBODY),
)


def changed(old: Settings, new: Settings) -> list[str]:
    """The keys whose values differ, as they are written in the file."""
    before, after = dict(_flat("", old)), dict(_flat("", new))
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def require_changeable(keys: Iterable[str]) -> None:
    """Raise :class:`ConfigurationFault` if one of ``keys`` cannot be changed while the supervisor runs."""
    fixed = [key for key in keys if _pattern(key) in _FIXED]
    if fixed:
        raise ConfigurationFault(
            f"{', '.join(fixed)} cannot be changed by a reload",
            "change it back, or stop the supervisor and start it again",
        )


def roles_touched(keys: Iterable[str]) -> frozenset[str]:
    """The roles whose workers have to be replaced for these changes."""
    return frozenset().union(
        *(next(roles for prefix, roles in _TOUCHES if key.startswith(prefix)) for key in keys)
    )


def _pattern(key: str) -> str:
    first, _, rest = key.partition(".")
    return f"topics.*.{rest.partition('.')[2]}" if first == "topics" and "." in rest else key


def _flat(prefix: str, section: Struct) -> Iterator[tuple[str, object]]:
    for name, value in asdict(section).items():
        key = f"{prefix}{name}"
        if isinstance(value, Struct):
            yield from _flat(f"{key}.", value)
        else:
            yield key, value
