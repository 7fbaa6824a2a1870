"""What a pipeline is: the part of a worker that users write.

A pipeline is a module, named by ``app.pipeline`` in the configuration. It has

``Event``
    a ``msgspec.Struct`` type that input records are decoded into;
``DIMENSIONS``
    the names of what is counted, such as ``("region", "time_flg")``; empty if nothing is;
``enrich(event)``
    returns the output and what it counts as. An output of ``None`` drops the event on purpose; a
    ``ValueError`` sends the record to the dead letters with the error's text. It must not keep state: state
    that is not in the transaction would differ after a crash.

``examples/pageviews.py`` is a small one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from supervisor.contract.faults import ConfigurationFault

__all__ = ["Key", "Pipeline", "Result", "load"]

Key = tuple[Any, ...]
"""What one event counts as: its minute (epoch seconds // 60, or ``None`` if it has no time), then one value
per dimension: strings, integers or ``None``."""

Result = tuple[msgspec.Struct | None, Key | None]
"""Output and key; a key of ``None`` is not counted."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline module, checked."""

    name: str
    event: type[msgspec.Struct]
    dimensions: tuple[str, ...]
    enrich: Callable[[Any], Result]


def load(name: str) -> Pipeline:
    """Import the pipeline module ``name``.

    Raises :class:`ConfigurationFault` if it cannot be imported or lacks a part.
    """
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may do anything
        raise ConfigurationFault(
            f"the pipeline module {name!r} cannot be imported: {type(error).__name__}: {error}",
            "check app.pipeline, and that the module is installed where the supervisor runs",
        ) from error
    missing = [part for part in ("Event", "DIMENSIONS", "enrich") if not hasattr(module, part)]
    if missing:
        raise ConfigurationFault(
            f"the pipeline module {name!r} lacks {' and '.join(missing)}",
            "a pipeline has Event, DIMENSIONS and enrich; see workers/pipeline.py",
        )
    if not (isinstance(module.Event, type) and issubclass(module.Event, msgspec.Struct)):
        raise ConfigurationFault(f"{name}.Event is not a msgspec.Struct")
    if not isinstance(module.DIMENSIONS, tuple | list) or not all(
        isinstance(dimension, str) for dimension in module.DIMENSIONS
    ):
        raise ConfigurationFault(
            f"{name}.DIMENSIONS is not a tuple of names", 'write it as ("region",), or () to count nothing'
        )
    return Pipeline(name, module.Event, tuple(module.DIMENSIONS), module.enrich)
