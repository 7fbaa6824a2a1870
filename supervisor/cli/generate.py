"""``supervisor generate``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, cast

import click

from supervisor.cli._settings import with_settings
from supervisor.cli._types import Rate, Share
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit

if TYPE_CHECKING:
    from supervisor.generate.events import KeyField, Timestamps
    from supervisor.generate.report import Report

__all__ = ["command"]

_PLAIN_PROGRESS_S = 5.0


@click.command("generate")
@click.option(
    "--rate", type=Rate(), default="500", show_default=True, metavar="N|max", help="Events a second."
)
@click.option(
    "--key",
    type=click.Choice(["locale", "device_type", "user_id", "none"]),
    default="none",
    show_default=True,
    help="The field that is the record's key, and so chooses its partition.",
)
@click.option(
    "--bad",
    type=Share(),
    default="0",
    show_default=True,
    metavar="SHARE",
    help="Share of bad events: 1% or 0.01.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option(
    "--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End after S seconds."
)
@click.option("--seed", type=int, metavar="N", help="The same seed gives the same events; else it is chosen.")
@click.option(
    "--timestamps",
    type=click.Choice(["now", "day"]),
    default="now",
    show_default=True,
    help="Time of the events: now, or spread over the last day.",
)
@click.option("--topic", metavar="NAME", help="Topic to send to; else the input topic.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@with_settings()
def command(
    loaded: Loaded,
    rate: float,
    key: str,
    bad: float,
    count: int | None,
    duration: float | None,
    seed: int | None,
    timestamps: str,
    topic: str | None,
    as_json: bool,
) -> int:
    """Send login events at an even rate, and report what the brokers acknowledged.

    Without --count or --duration it goes on until Ctrl-C or SIGTERM, then waits for what is on its way; a
    second Ctrl-C gives that up. Exit code 1 if any event was not acknowledged.

    \b
    Examples:
      supervisor generate
      supervisor generate --rate 5000 --duration 60 --bad 1%
      supervisor generate --rate max --count 1000000 --key user_id --seed 7 --json
    """
    from supervisor.generate.generator import Generator, Load, client_config

    seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    load = Load(
        rate=rate,
        count=count,
        duration_s=duration,
        seed=seed,
        key=cast("KeyField", key),
        bad=bad,
        timestamps=cast("Timestamps", timestamps),
    )
    name = topic or loaded.settings.topics.input.name
    stop, hasten = Event(), Event()
    progress = _Progress(stop)
    with _signals(stop, hasten):
        report = Generator(client_config(loaded.settings.kafka), name, load, progress).run(stop, hasten)
    progress.end()
    click.echo(_as_json(report, name, seed) if as_json else _as_text(report, name, seed))
    return Exit.FAILED if report.acknowledged < report.produced else Exit.OK


@contextmanager
def _signals(stop: Event, hasten: Event) -> Iterator[None]:
    def interrupted(signum: int, frame: object) -> None:
        (hasten if stop.is_set() else stop).set()

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Progress:
    """On a terminal one line that changes; elsewhere a line every few seconds. On stderr."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._refreshed = sys.stderr.isatty()
        self._due = time.monotonic() + (0 if self._refreshed else _PLAIN_PROGRESS_S)
        self._last = (0.0, 0)

    def __call__(self, report: Report, trouble: str) -> None:
        if not self._refreshed and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _PLAIN_PROGRESS_S
        text = self._line(report, trouble)
        if self._refreshed:
            text = f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}"
        click.echo(text, err=True, nl=not self._refreshed)

    def _line(self, report: Report, trouble: str) -> str:
        seconds, acknowledged = self._last
        self._last = (report.seconds, report.acknowledged)
        rate = (report.acknowledged - acknowledged) / max(report.seconds - seconds, 1e-3)
        parts = [
            f"{report.acknowledged:,} acknowledged",
            f"{rate:,.0f}/s",
            f"{report.waiting:,} waiting",
        ]
        if report.failed:
            parts.append(f"{report.failed:,} failed")
        if trouble and report.waiting:
            parts.append(_gist(trouble))
        if self._stop.is_set():
            parts.insert(0, "stopping (Ctrl-C again gives up)")
        return "  ".join(parts)

    def end(self) -> None:
        if self._refreshed:
            click.echo("\r\x1b[K", err=True, nl=False)


def _gist(trouble: str) -> str:
    """``10.0.0.1:9092: Connection refused``, without the words that librdkafka puts around it."""
    text = trouble.split(": Connect to ", 1)[-1].split(" (after ", 1)[0]
    text = text.removeprefix("ipv4#").removeprefix("ipv6#").replace(" failed: ", ": ", 1)
    return "".join(character if character.isprintable() else " " for character in text)


def _as_json(report: Report, topic: str, seed: int) -> str:
    import msgspec

    return msgspec.json.encode({"topic": topic, "seed": seed, **msgspec.structs.asdict(report)}).decode()


def _as_text(report: Report, topic: str, seed: int) -> str:
    rate = report.acknowledged / report.seconds if report.seconds else 0.0
    lines = [
        f"{report.acknowledged:,} events acknowledged by {topic} in {report.seconds:.1f} s "
        f"({rate:,.0f}/s), {report.failed:,} failed (seed {seed})"
    ]
    if report.causes:
        lines.append(f"not acknowledged: {_counts(report.causes)}")
    if report.bad_sent:
        lines.append(f"{report.bad_sent:,} were bad: {_counts(report.bad_kinds)}")
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
