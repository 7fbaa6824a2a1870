"""``supervisor cluster``: a real Kafka on this machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault

if TYPE_CHECKING:
    from supervisor.cluster.control import Status
    from supervisor.cluster.layout import Layout

__all__ = ["command"]

_CLIENT_PORT = 9092
_PROGRESS = re.compile(r"\d+ of \d+")


class _Heap(click.ParamType[int]):
    """A heap size as Java writes it, in MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,6})([mMgG])", value)
        megabytes = int(found[1]) * (1024 if found[2] in "gG" else 1) if found else 0
        if not 192 <= megabytes <= 65_536:
            self.fail(f"{value!r} is not a size from 192m to 64g, such as 512m or 1g", param, ctx)
        return megabytes


_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The cluster's directory (default: one in the user's state directory).",
)


@click.group("cluster")
def command() -> None:
    """Run a real Kafka on this machine, for trials and tests: no Docker, no Java to install.

    The first start downloads Apache Kafka, about 45 MB. It listens on 127.0.0.1 only, without encryption or
    passwords, and is not meant for production.

    \b
    Examples:
      supervisor cluster start               three brokers in this terminal, until Ctrl-C
      supervisor cluster start --detach      the same in the background
      supervisor cluster kill 2              what does a broker's crash do to my pipeline?
      supervisor cluster restart 2           and its return?
      supervisor cluster stop
    """


@command.command("start")
@click.option("--brokers", type=click.Choice(["1", "3"]), help="How many brokers (default: 3).")
@_directory
@click.option(
    "--port", type=click.IntRange(1024, 65_533), help="Broker 1's port; 2 and 3 take the next ones."
)
@click.option(
    "--keep/--discard",
    default=None,
    help="Keep the data at the end, or not (default: keep with --dir, else discard).",
)
@click.option("--detach", is_flag=True, help="Return when the brokers are ready and leave them running.")
@click.option("--heap", type=_Heap(), default="512m", show_default=True, help="Java heap of each broker.")
@click.option("--json", "as_json", is_flag=True, help="Print the cluster as JSON once it is ready.")
def start(
    *,
    brokers: str | None,
    directory: Path | None,
    port: int | None,
    keep: bool | None,
    detach: bool,
    heap: int,
    as_json: bool,
) -> int:
    """Start a cluster. Without --port, clients find it at 9092, 9093 and 9094 where these are free.

    Runs until Ctrl-C (a second one hastens it), or in the background with --detach. However the command ends,
    its brokers end with it.

    \b
    Examples:
      supervisor cluster start
      supervisor cluster start --brokers 1 --heap 256m
      supervisor cluster start --dir ./kafka --port 19092 --detach --json
    """
    from supervisor.cluster import remote
    from supervisor.cluster.keeper import Keeper, Options
    from supervisor.cluster.layout import default_directory
    from supervisor.cluster.runtime import prepare

    # Here and not in the keeper, so that progress is seen and Ctrl-C ends it.
    prepare(_notify)
    options = Options(
        directory=str((directory or default_directory()).absolute()),
        brokers=int(brokers) if brokers else None,
        keep=keep if keep is not None else directory is not None,
        port=port,
        preferred_port=_CLIENT_PORT,
        heap_mb=heap,
    )
    if detach:
        _announce(remote.start(options), as_json, "supervisor cluster stop" + _same(directory))
    else:
        Keeper(options, _notify, lambda status: _announce(status, as_json, "Ctrl-C")).run()
    return Exit.OK


@command.command("stop")
@_directory
@click.option("--keep/--discard", default=None, help="Keep the data, or not (default: as said at the start).")
def stop(*, directory: Path | None, keep: bool | None) -> int:
    """Stop the cluster: brokers end gracefully, those that do not are killed after 20 s.

    \b
    Examples:
      supervisor cluster stop
      supervisor cluster stop --dir ./kafka --discard
    """
    from supervisor.cluster import remote

    remote.stop(_layout(directory), keep)
    _notify("the cluster is stopped")
    return Exit.OK


@command.command("status")
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/cluster.md).")
def status(*, directory: Path | None, as_json: bool) -> int:
    """Show the brokers, and whether each answers. Exit code 1 if no cluster runs.

    \b
    Examples:
      supervisor cluster status
      supervisor cluster status --json
    """
    from supervisor.cluster import remote

    layout = _layout(directory)
    try:
        current = remote.status(layout)
    except Fault:
        if as_json:
            click.echo(json.dumps({"running": False, "directory": str(layout.root)}))
        raise
    if as_json:
        click.echo(json.dumps(_as_json(current), indent=2))
        return Exit.OK
    data = "kept" if current.keep else "discarded at the end"
    click.echo(f"{current.phase} in {current.directory} (pid {current.pid}), data {data}")
    click.echo(f"bootstrap servers: {current.bootstrap_servers}\n")
    click.echo(f"{'BROKER':<8}{'PORT':<8}{'STATE':<10}{'PID':<10}ANSWERS")
    for broker in current.brokers:
        answer = "yes" if remote.answers(broker) else "no"
        click.echo(f"{broker.number:<8}{broker.port:<8}{broker.state:<10}{broker.pid or '-':<10}{answer}")
    return Exit.OK


@command.command("kill")
@click.argument("broker", type=click.IntRange(1))
@_directory
def kill(*, broker: int, directory: Path | None) -> int:
    """End one BROKER as a crash would, by SIGKILL. Its data stay for `restart`.

    \b
    Example:
      supervisor cluster kill 2
    """
    from supervisor.cluster import remote

    remote.kill(_layout(directory), broker)
    _notify(
        f"broker {broker} is killed; supervisor cluster restart {broker}{_same(directory)} starts it again"
    )
    return Exit.OK


@command.command("restart")
@click.argument("broker", type=click.IntRange(1))
@_directory
def restart(*, broker: int, directory: Path | None) -> int:
    """Restart one BROKER, gracefully if it runs, and wait until it answers.

    A broker that was killed is let in again when its session has expired, after 6 s.

    \b
    Example:
      supervisor cluster restart 2
    """
    from supervisor.cluster import remote

    remote.restart(_layout(directory), broker, _notify)
    _notify(f"broker {broker} is ready")
    return Exit.OK


def _layout(directory: Path | None) -> Layout:
    from supervisor.cluster.layout import Layout, default_directory

    return Layout(directory or default_directory())


def _same(directory: Path | None) -> str:
    return f" --dir {directory}" if directory else ""


def _as_json(current: Status) -> dict[str, Any]:
    from supervisor.cluster import remote

    brokers = [
        {
            "number": broker.number,
            "port": broker.port,
            "state": broker.state,
            "answers": remote.answers(broker),
            "pid": broker.pid,
            "exit_code": broker.exit_code,
            "log": broker.log,
        }
        for broker in current.brokers
    ]
    return {
        "running": True,
        "phase": current.phase,
        "pid": current.pid,
        "directory": current.directory,
        "cluster_id": current.cluster_id,
        "bootstrap_servers": current.bootstrap_servers,
        "keep": current.keep,
        "brokers": brokers,
    }


def _announce(current: Status, as_json: bool, how_to_stop: str) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(current), indent=2))
        return
    count = len(current.brokers)
    data = "kept" if current.keep else "discarded at the end"
    click.echo(f"Kafka is ready: {count} broker{'s' if count > 1 else ''}, pid {current.pid}")
    click.echo(f"  bootstrap servers  {current.bootstrap_servers}")
    click.echo(f"  directory          {current.directory} (data {data})")
    click.echo(f"  stop               {how_to_stop}")
    click.echo("  use it             export SUPERVISOR_KAFKA_BOOTSTRAP_SERVERS=" + current.bootstrap_servers)


def _notify(text: str) -> None:
    """Progress goes to stderr; a counter overwrites itself on a terminal and is left out elsewhere."""
    if not _PROGRESS.search(text):
        click.echo(text, err=True)
    elif sys.stderr.isatty():
        numbers = text.rsplit(": ", 1)[-1].split()
        click.echo(f"\r{text}", err=True, nl=numbers[0] == numbers[2])
