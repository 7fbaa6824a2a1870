"""The application under gunicorn, and its hook: called in each new worker before anything else of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from note import note


def application(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return ()


def post_fork(_server: object, _worker: object) -> None:
    note(time.monotonic_ns())
