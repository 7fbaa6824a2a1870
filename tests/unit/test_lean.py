"""The Kafka client without asyncio: not there until it is needed, and whole then. Each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_roles_of_a_worker_are_imported_without_asyncio() -> None:
    code = """
import sys
from workers.kafka import lean
lean.import_client()
from workers import roles
print([name for name in ("asyncio", "ssl") if name in sys.modules])
"""
    assert run(code) == "[]"


def test_a_pipeline_that_imports_asyncio_gets_it() -> None:
    code = """
from workers.kafka import lean
lean.import_client()
import asyncio, asyncio.events
async def answer():
    return 42
print(asyncio.run(answer()))
"""
    assert run(code) == "42"


def test_what_the_client_has_of_asyncio_is_asyncio_when_it_is_used() -> None:
    code = """
from workers.kafka import lean
lean.import_client()
import confluent_kafka._serde_builder as user
print(user.asyncio.get_running_loop.__name__)
import asyncio
print(user.asyncio.shield is asyncio.shield)
"""
    assert run(code).split() == ["get_running_loop", "True"]


def test_asyncio_that_is_there_already_stays() -> None:
    code = """
import asyncio, sys
from workers.kafka import lean
lean.import_client()
print(sys.modules["asyncio"] is asyncio)
"""
    assert run(code) == "True"
