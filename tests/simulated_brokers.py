"""The brokers that librdkafka simulates in this process, which answer with the errors they are told to.

They prove nothing about exactly once: that is done on real ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
from pathlib import Path

import confluent_kafka  # noqa: F401  # loads the librdkafka that is looked for below

__all__ = [
    "ADD_PARTITIONS",
    "COMMIT_OFFSETS",
    "END_TXN",
    "FETCH_OFFSETS",
    "INIT_PRODUCER_ID",
    "PRODUCE",
    "SimulatedBrokers",
]

# The numbers of the protocol's requests.
PRODUCE, COMMIT_OFFSETS, FETCH_OFFSETS, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN = 0, 8, 9, 22, 24, 26


class SimulatedBrokers:
    """``rd_kafka_mock_*`` of the librdkafka that is loaded (rdkafka_mock.h)."""

    def __init__(self) -> None:
        path = next(
            line.split()[-1]
            for line in Path("/proc/self/maps").read_text().splitlines()
            if "librdkafka" in line
        )
        self._lib = ctypes.CDLL(path)
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(self._lib, name).restype = ctypes.c_void_p
        self._lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        conf = ctypes.c_void_p(self._lib.rd_kafka_conf_new())
        for key, value in ((b"bootstrap.servers", b"127.0.0.1:1"), (b"log_level", b"0")):
            self._lib.rd_kafka_conf_set(conf, key, value, None, ctypes.c_size_t(0))
        self._client = ctypes.c_void_p(self._lib.rd_kafka_new(0, conf, None, ctypes.c_size_t(0)))
        self._cluster = ctypes.c_void_p(self._lib.rd_kafka_mock_cluster_new(self._client, 1))
        self.bootstrap: str = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._wait_for_its_thread()

    def _wait_for_its_thread(self) -> None:
        """What it is told before its thread listens is noticed a second later; once it hangs up it does."""
        host, _, port = self.bootstrap.partition(",")[0].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"\xff" * 16)  # no request is that long
            with contextlib.suppress(ConnectionResetError):
                connection.recv(1)

    def create_topic(self, name: str, partitions: int) -> None:
        self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)

    def answer(self, request: int, *errors: int) -> None:
        """Answer the next requests of this kind with these errors."""
        self._lib.rd_kafka_mock_push_request_errors(
            self._cluster, ctypes.c_short(request), ctypes.c_size_t(len(errors)), *map(ctypes.c_int, errors)
        )

    def delay(self, milliseconds: int) -> None:
        """Answer every request that much later, from now on."""
        self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, -1, milliseconds)

    def close(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)
