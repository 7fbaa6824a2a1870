"""Whom the throughput benchmark measures: one module each, with the contract of ``contract.py``."""

from __future__ import annotations

from benchmarks.peers.arroyo import Arroyo
from benchmarks.peers.bytewax import Bytewax
from benchmarks.peers.contract import Peer
from benchmarks.peers.faust import Faust
from benchmarks.peers.ours import Ours, OursCounting
from benchmarks.peers.plain import Plain
from benchmarks.peers.prototype import Prototype
from benchmarks.peers.quix import Quix
from benchmarks.peers.streams import Streams

__all__ = ["PEERS"]

PEERS: tuple[type[Peer], ...] = (
    Ours,
    OursCounting,
    Prototype,
    Plain,
    Streams,
    Quix,
    Bytewax,
    Arroyo,
    Faust,
)
"""In the order of the tables; the first one is what the others are compared with."""
