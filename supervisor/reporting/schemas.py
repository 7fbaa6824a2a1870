"""The JSON schemas of what is published: ``python -m supervisor.reporting.schemas docs`` writes them anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from supervisor.reporting.journal import Happening
from supervisor.reporting.status import Status

__all__ = ["PUBLISHED", "schema"]

PUBLISHED: dict[str, type[Struct]] = {"status.schema.json": Status, "events.schema.json": Happening}
"""File name in ``docs`` -> what it describes."""


def schema(struct: type[Struct]) -> dict[str, Any]:
    """The schema of ``struct`` as we write it: with every field. More may be added, so others are allowed."""
    (reference,), definitions = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        # msgspec's schema is of what may be read, where a field with a default may be absent.
        definition["required"] = list(definition["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **reference,
        "$defs": definitions,
    }


if __name__ == "__main__":
    for name, struct in PUBLISHED.items():
        text = json.dumps(schema(struct), indent=2, ensure_ascii=False)
        Path(sys.argv[1], name).write_text(text + "\n", encoding="utf-8")
