"""A real Kafka on this machine, for trials, tests and benchmarks: no Docker, no Java to install."""

from supervisor.cluster.cluster import Cluster

__all__ = ["Cluster"]
