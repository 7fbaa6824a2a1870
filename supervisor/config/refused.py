"""What librdkafka says against ``kafka.client`` as a client is made: the same words, whoever makes one."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException

__all__ = ["REFUSALS", "in_one_line", "refused", "said"]

REFUSALS = (KafkaException, AttributeError, TypeError, ValueError)
"""What making a client raises; all but the first come of properties that confluent_kafka takes itself."""


def in_one_line(text: str) -> str:
    """Part of a sentence: without line breaks or what would act on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def said(error: Exception) -> str:
    """One of :data:`REFUSALS`, in one line."""
    return in_one_line(error.args[0].str() if isinstance(error, KafkaException) else str(error))


def refused(error: Exception, config: Mapping[str, object]) -> str:
    """The cause to be told, without secrets; ``config`` has the entries of ``kafka.client``, and may have
    more."""
    # Only who is refused pays for the import: each worker makes clients.
    from supervisor.config.values import without_secrets

    return f"librdkafka refuses the settings of kafka.client: {without_secrets(said(error), config)}"
