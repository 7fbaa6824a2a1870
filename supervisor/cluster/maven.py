"""Fetches Kafka's jars from a Maven repository, each whole and with the checksum the repository publishes.

Imported only when something must be downloaded, since it needs the ``cluster`` extra.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from jgo.maven import Artifact, MavenContext, PythonResolver
from jgo.parse import Coordinate

from supervisor.contract.faults import Fault

__all__ = ["COORDINATES", "REPOSITORY_VARIABLE", "download"]

COORDINATES = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")
"""slf4j-simple must have the version of the slf4j-api that Kafka's own dependencies resolve to."""

REPOSITORY_VARIABLE = "SUPERVISOR_MAVEN_REPOSITORY"
"""A mirror to use instead of Maven Central, as a URL."""

_TRIES = 3
_TIMEOUT_S = 20
_PARALLEL = 4


def download(
    repository: Path, notify: Callable[[str], None], coordinates: Sequence[str] = COORDINATES
) -> list[Path]:
    """Resolve Kafka's dependencies and fetch every jar into ``repository``; the jars' paths, in order.

    What an earlier call left whole is not fetched again. Raises Fault when the repository cannot be reached
    or sends something else than it promises.
    """
    # Its warnings are about a JDK that is not needed for this.
    logging.getLogger("jgo").setLevel(logging.ERROR)
    mirror = os.environ.get(REPOSITORY_VARIABLE)
    context = MavenContext(
        resolver=_WholeFiles(),
        repo_cache=repository,
        local_repos=[],
        remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
    )
    try:
        wanted = [context.create_dependency(Coordinate.parse(name)) for name in coordinates]
        inputs, transitive = context.resolver.resolve(wanted)
        needed = [one for one in transitive if one.scope in ("compile", "runtime")]
        artifacts = [one.artifact for one in (*inputs, *needed) if one.artifact.packaging == "jar"]
        return _fetch_all(artifacts, notify)
    except (requests.RequestException, RuntimeError) as error:
        raise _unreachable(error, mirror) from error
    except OSError as error:
        raise Fault(
            f"Kafka's jars cannot be written to {repository}: {error.strerror or error}",
            "free some space there, or set XDG_CACHE_HOME to another directory",
        ) from error


def _fetch_all(artifacts: list[Artifact], notify: Callable[[str], None]) -> list[Path]:
    paths = []
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for path in pool.map(lambda artifact: artifact.resolve(), artifacts):
            paths.append(Path(path))
            notify(f"Kafka: {len(paths)} of {len(artifacts)} files")
    return paths


def _unreachable(error: Exception, mirror: str | None) -> Fault:
    source = mirror or "Maven Central"
    detail = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return Fault(
        f"Kafka could not be downloaded from {source}: {detail}",
        f"check the network or the proxy variables, or set {REPOSITORY_VARIABLE} to a mirror, "
        "and start again: what has arrived is kept",
    )


class _WholeFiles(PythonResolver):
    """jgo's resolver writes into the final file as bytes arrive, only warns of a wrong checksum, and takes
    whatever file it finds later. Here a file gets its name once it is whole and its checksum is right."""

    def download(self, artifact: Artifact) -> Path:
        target = artifact.cached_path
        if target is None:
            raise RuntimeError(f"{artifact.filename} has no place in the cache")
        for remote in artifact.context.remote_repos.values():
            url = f"{remote}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
            body = _get(url)
            if body is None:
                continue
            _check(url, body)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            try:
                part.write_bytes(body)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            return target
        raise RuntimeError(f"{artifact.filename} is not there")


def _check(url: str, body: bytes) -> None:
    published = _get(f"{url}.sha1")
    if published is None:
        raise RuntimeError(f"no checksum is published for {url}")
    # Either bare hex or "hex  filename".
    expected = published.decode("ascii", "replace").split()[:1]
    if expected != [hashlib.sha1(body, usedforsecurity=False).hexdigest()]:
        raise RuntimeError(f"{url} does not match its checksum")


def _get(url: str) -> bytes | None:
    """The body at ``url``, None where there is none (404). A dropped connection is tried again, twice."""
    for attempt in range(1, _TRIES + 1):
        try:
            answer = requests.get(url, timeout=_TIMEOUT_S)
            if answer.status_code == requests.codes.not_found:
                return None
            answer.raise_for_status()
            return answer.content
        except (requests.ConnectionError, requests.Timeout):
            if attempt == _TRIES:
                raise
            time.sleep(0.5 * attempt)
    raise AssertionError("unreachable")
