"""Values of topic configurations as Kafka writes them, and when two spellings mean the same."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from supervisor.contract.settings import Scalar

__all__ = ["same_value", "spelled"]


def spelled(value: Scalar) -> str:
    """A value of the configuration file as Kafka writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def same_value(declared: str, observed: str | None) -> bool:
    """Whether two spellings mean the same to Kafka: 1e-1 and 0.1, TRUE and true, "a,b" and "b, a"."""
    if observed is None:
        return False
    left, right = declared.strip(), observed.strip()
    if left == right or (left.lower() in ("true", "false") and left.lower() == right.lower()):
        return True
    if "," in left and "," in right:
        return sorted(map(str.strip, left.split(","))) == sorted(map(str.strip, right.split(",")))
    try:
        return Decimal(left) == Decimal(right)
    except InvalidOperation:
        return False
