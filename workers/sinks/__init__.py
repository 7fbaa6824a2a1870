"""Where the real-time worker shows events; each sink is one module."""

from workers.sinks.base import Sink, SinkClosed, SinkFault, SinkInUse, SinkLost, SinkUnavailable
from workers.sinks.opening import open_sinks

__all__ = ["Sink", "SinkClosed", "SinkFault", "SinkInUse", "SinkLost", "SinkUnavailable", "open_sinks"]
