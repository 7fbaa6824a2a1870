"""Every part of the benchmark in turn, but for the soak; the report is written behind each of them.

    python benchmarks/all.py                    (what `make bench` does)
    python benchmarks/all.py throughput start

A part that fails does not keep the others from running: what failed is said at the end, with exit code 1.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import PARTS

_HERE = Path(__file__).parent
_BY_HAND = ("soak",)
_IN_TURN = tuple(part for part in PARTS if part not in _BY_HAND)


@click.command()
@click.argument("parts", nargs=-1, metavar="[PART]...", type=click.Choice(PARTS))
def main(parts: tuple[str, ...]) -> None:
    # Whoever ends it early ends the part that runs, too, which stops what it has started.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    failed = [part for part in parts or _IN_TURN if not _run(part)]
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _run(part: str) -> bool:
    click.echo(f"-- {part}", err=True)
    running = subprocess.Popen([sys.executable, str(_HERE / f"{part}.py"), "--write"])
    try:
        return running.wait() == 0
    finally:
        if running.poll() is None:
            running.terminate()
            running.wait()


if __name__ == "__main__":
    main()
