"""The units as files, for whoever deploys without the command: ``python -m supervisor.systemd.deployed``."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor.contract.settings import Settings
from supervisor.systemd import unit

__all__ = ["deployed"]

# What Debian 12 has. A newer one takes the drop-in, too.
_VERSION = 252
_PROGRAM = f"/opt/{unit.NAME}/bin/supervisor"


def deployed() -> dict[str, str]:
    """Every file of ``deploy/systemd``: the default configuration, installed in /opt, for Debian 12."""
    described = unit.service_of(
        Settings(), [_PROGRAM, "start"], f"{unit.CONFIG_DIRECTORY}/{unit.NAME}.toml", version=_VERSION
    )
    return {
        f"{unit.NAME}.service": unit.service(described),
        f"{unit.NAME}@.service": unit.service(described, template=True),
        f"systemd-{unit.NEWEST}.conf": unit.newer(),
        f"sysusers-{unit.NAME}.conf": unit.accounts(),
    }


if __name__ == "__main__":
    for name, text in deployed().items():
        Path(sys.argv[1], name).write_text(text, encoding="utf-8")
