"""Kafka Streams, exactly once: its jars from Maven Central, our program compiled on the wheel's Java."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import Absent, clean
from benchmarks.peers.contract import PROCESSES, Job, Peer, told
from supervisor.cluster import jvm
from supervisor.contract.faults import Fault

__all__ = ["Streams"]

_VERSION = "4.3.1"
_LIBRARIES = (f"org.apache.kafka:kafka-streams:{_VERSION}", "org.slf4j:slf4j-nop:1.7.36")
# The wheel's Java has no compiler; Eclipse's needs nothing but a Java to run on.
_COMPILER = ("org.eclipse.jdt:ecj:3.44.0",)
_SOURCE = Path(__file__).parent / "applications" / "streams" / "Logins.java"
_JAVA = ("-Xms512m", "-Xmx512m", "-XX:+UseParallelGC", "-Duser.language=en")
_COMPILE_S = 120
_OPTIONS = {
    "processing.guarantee": "exactly_once_v2",
    "num.stream.threads": PROCESSES,
    # As often as ours in a backlog: at its default of 100 brokers spend their time with transactions.
    "commit.interval.ms": 1_000,
    "buffered.records.per.partition": 10_000,
    "consumer.max.poll.records": 10_000,
    "producer.linger.ms": 50,
    "producer.compression.type": "lz4",
    "producer.batch.size": 1_000_000,
    "producer.buffer.memory": 67_108_864,
}


class Streams(Peer):
    name = "Kafka Streams"
    guarantee = "exactly once"
    version = _VERSION
    options: Mapping[str, Any] = _OPTIONS

    @property
    def settings(self) -> str:
        how = "bytes in and out, Jackson's streaming interface"
        return f"one JVM, {' '.join(_JAVA)}; {told(self.options)}; {how}"

    def install(self, cache: Path) -> None:
        try:
            from supervisor.cluster.maven import download

            self._java = jvm.find_java()
            repository = cache / "maven"
            self._jars = download(repository, lambda _: None, _LIBRARIES)
            compiler = download(repository, lambda _: None, _COMPILER)
        except ImportError as error:
            raise Absent(f"the extra 'cluster' is not installed ({error.name} is missing)") from error
        except Fault as fault:
            raise Absent(fault.cause) from fault
        self._classes = self._compile(compiler[0], cache)

    def _compile(self, compiler: Path, cache: Path) -> Path:
        content = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
        classes = cache / f"streams-{_VERSION}-{content}"
        if (classes / "Logins.class").exists():
            return classes
        libraries = os.pathsep.join(map(str, self._jars))
        command = [str(self._java), "-jar", str(compiler), "-25", "-nowarn", "-cp", libraries]
        done = subprocess.run(
            [*command, "-d", str(classes), str(_SOURCE)],
            env=jvm.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMPILE_S,
        )
        if done.returncode:
            raise Absent(f"its program was not compiled: {(done.stderr or done.stdout).strip()[:300]}")
        return classes

    def commands(self, job: Job) -> list[list[str]]:
        options = {
            "application.id": job.target,
            "bootstrap.servers": job.servers,
            "state.dir": job.directory / "state",
            "auto.offset.reset": "earliest",
            **self.options,
        }
        properties = job.directory / "streams.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in options.items()))
        paths = [self._classes, *self._jars]
        arguments = (str(properties), job.source, job.target)
        options_of_jvm = [*_JAVA, "--enable-native-access=ALL-UNNAMED"]
        return [jvm.command(self._java, paths, options_of_jvm, "Logins", *arguments)]

    def variables(self, cache: Path) -> dict[str, str]:
        return clean(jvm.environment(), cache)
