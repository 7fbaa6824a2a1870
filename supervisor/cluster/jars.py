"""Kafka's jars in the user's cache: resolved once, checked at each start, fetched again where broken."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from supervisor.contract.faults import ConfigurationFault, Fault

__all__ = ["KAFKA_VERSION", "Download", "cache_directory", "classpath", "exclusive", "write_atomically"]

KAFKA_VERSION = "4.3.1"

Download = Callable[[Path, Callable[[str], None]], list[Path]]
"""Fetches every jar into a directory, tells of its progress, returns the paths in classpath order."""


class _Jar(msgspec.Struct, frozen=True):
    path: str
    """Relative to the cache directory, so that it can be moved or mounted elsewhere."""
    sha256: str


class _Record(msgspec.Struct, frozen=True):
    kafka: str
    jars: tuple[_Jar, ...]


def cache_directory() -> Path:
    """Where the jars and what is derived from them are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    if ":" in str(root):
        raise ConfigurationFault(
            f"the cache directory {root} has a colon in its name, which Java reads as the end of a path",
            "set XDG_CACHE_HOME to a directory without one",
        )
    return root / "kafka-supervisor" / f"kafka-{KAFKA_VERSION}"


def classpath(
    cache: Path, notify: Callable[[str], None], download: Download | None = None
) -> tuple[Path, ...]:
    """The jars of Kafka, whole, in order. Downloads what is missing or broken; about 45 MB the first time.

    Safe when several processes call it at once: one downloads and the others wait for it.
    Raises Fault when the download fails or the cache cannot be written.
    """
    found = _recorded(cache)
    if found:
        return found
    with exclusive(cache, notify):
        # Another process may have finished while we waited for the lock.
        found = _recorded(cache)
        if found:
            return found
        notify(f"Kafka {KAFKA_VERSION} is downloaded once, about 45 MB, to {cache}")
        jars = (download or _from_maven())(cache / "repository", notify)
        record = _Record(
            kafka=KAFKA_VERSION,
            jars=tuple(_Jar(str(path.relative_to(cache)), _sha256(path)) for path in jars),
        )
        write_atomically(cache / "classpath.json", msgspec.json.format(msgspec.json.encode(record)))
        return tuple(jars)


def _from_maven() -> Download:
    try:
        from supervisor.cluster import maven
    except ImportError as error:
        raise Fault(
            f"a local Kafka needs the extra 'cluster', which is not installed ({error.name} is missing)",
            "pip install 'kafka-supervisor[cluster]'",
        ) from error
    return maven.download


def _recorded(cache: Path) -> tuple[Path, ...]:
    """The jars of the record if each is there and unchanged, else nothing. A broken jar is removed."""
    try:
        record = msgspec.json.decode((cache / "classpath.json").read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError):
        return ()
    if record.kafka != KAFKA_VERSION or not record.jars:
        return ()
    paths = tuple(cache / jar.path for jar in record.jars)
    whole = True
    for path, jar in zip(paths, record.jars, strict=True):
        try:
            # Hashing all of them takes 40 ms; a size alone would let a half-written block pass.
            if _sha256(path) == jar.sha256:
                continue
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Fault(
                f"{path} cannot be read: {error.strerror}", f"delete {cache} and start again"
            ) from error
        whole = False
    return paths if whole else ()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(cache: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache for this process alone; the system releases it however the process ends."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Fault(
            f"the cache directory {cache} cannot be written: {error.strerror}",
            "set XDG_CACHE_HOME to a directory that you can write to",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify("another process is preparing Kafka; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either the old or the new one to every reader, whenever we are killed."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise Fault(
            f"{path} cannot be written: {error.strerror}",
            "free some space or choose a directory that can be written",
        ) from error
    finally:
        part.unlink(missing_ok=True)
