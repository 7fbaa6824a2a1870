"""The documentation against the code: tables, links, commands, options, messages and names of tests."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

from supervisor.cli import COMMANDS, _root
from supervisor.contract.board import Phase, Stage
from supervisor.contract.exits import Exit, WorkerExit
from supervisor.contract.settings import HookEvent
from supervisor.reporting import journal, schemas, status
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Cause

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    level = heading.split(" ", 1)[0]
    below = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row but for heads and rules."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
    heads = {number - 1 for number in rules}
    return [row for number, row in enumerate(cells) if number not in heads and number not in rules]


@pytest.mark.parametrize(("heading", "codes"), [("## Commands", Exit), ("## Workers", WorkerExit)])
def test_every_exit_code_is_documented_by_its_number_and_name(heading: str, codes: type[IntEnum]) -> None:
    documented = {
        (int(row[0]), row[1].strip("`")) for row in rows(section(page("docs/exit-codes.md"), heading))
    }
    assert documented == {(code.value, code.name) for code in codes}


@pytest.mark.parametrize("struct", [status.Status, status.Worker, status.Partition, status.Realtime])
def test_every_field_of_the_status_is_documented_in_order(struct: type[msgspec.Struct]) -> None:
    text = section(page("docs/status.md"), f"### `{struct.__name__}`")
    assert [row[0].strip("`") for row in rows(text)] == [
        field.name for field in msgspec.structs.fields(struct)
    ]


def test_every_cause_is_documented_in_order() -> None:
    documented = [row[0].strip("`") for row in rows(section(page("docs/status.md"), "## Causes"))]
    assert documented == [cause.name.lower() for cause in Cause if cause]


def test_every_state_stage_and_phase_is_documented() -> None:
    text = page("docs/status.md")
    names = [name.name.lower() for kind in (State, Stage, Phase) for name in kind]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_field_and_kind_of_an_event_is_documented() -> None:
    first = [row[0].strip("`") for row in rows(section(page("docs/control.md"), "## Events"))]
    fields = [field.name for field in msgspec.structs.fields(journal.Happening)]
    assert first[: len(fields)] == fields
    assert sorted(first[len(fields) :]) == sorted(journal.KINDS)


def test_every_event_that_a_hook_may_be_told_of_is_documented_and_happens() -> None:
    documented = [row[0].strip("`") for row in rows(page("docs/hooks.md"))]
    assert sorted(documented) == sorted(get_args(HookEvent))
    assert set(documented) <= set(journal.KINDS)


@pytest.mark.parametrize(("name", "struct"), schemas.PUBLISHED.items())
def test_a_published_schema_is_that_of_the_code(name: str, struct: type[msgspec.Struct]) -> None:
    """If not: ``python -m supervisor.reporting.schemas docs``."""
    assert json.loads(page(f"docs/{name}")) == schemas.schema(struct)


def test_every_command_is_in_the_readme() -> None:
    text = page("README.md")
    assert [name for name in COMMANDS if f"`supervisor {name}`" not in text] == []


def test_every_page_is_in_the_index() -> None:
    text = page("docs/README.md")
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in sorted(names) if f"]({name})" not in text] == []


@pytest.mark.parametrize(
    "package",
    [
        *("supervisor/contract", "supervisor", "workers", "workers/kafka", "workers/olap"),
        *("supervisor/rules", "supervisor/host", "supervisor/reporting", "supervisor/systemd"),
    ],
)
def test_every_module_has_a_line_in_the_architecture(package: str) -> None:
    text = page("docs/architecture.md").split("\n## Rooms\n")[1]
    heading = next(line for line in text.splitlines() if line.startswith(f"### `{package}`"))
    documented = set(re.findall(r"`(\w+)/?`", "".join(row[0] for row in rows(section(text, heading)))))
    present = {path.stem for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
    present |= {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__", "__main__"}
    assert documented == present - {"contract", "kafka", "olap"}


# -- links ----------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


# -- examples -------------------------------------------------------------------------------------------


def commands_in(text: str) -> Iterator[str]:
    """``supervisor …`` as it is to be typed: lines of code blocks, and code within sentences."""
    for language, block in FENCE.findall(text):
        if language in {"", "console", "sh"}:
            for line in block.splitlines():
                if found := re.search(r"^(?:\$ )?(?:\S+=\S+ )*(?:\S*/|uv run )?(supervisor .*)", line):
                    yield found[1]
    yield from re.findall(r"`(supervisor [^`]*)`", prose(text))


def arguments(line: str) -> list[str]:
    """Up to a pipe, a redirection, or the explanation that follows after two spaces."""
    words = shlex.split(re.split(r"\s{2,}|\s[|>&]", line)[0], comments=True)
    return words[1:]


def parse(command: click.Command, words: list[str], name: str) -> None:
    """Raises ``click.UsageError`` for a command, option or argument that does not exist."""
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group):
        if words and not words[0].startswith("-") and "…" not in words[0]:
            found = command.get_command(context, words[0])
            if found is None:
                raise click.UsageError(f"no command {words[0]}")
            parse(found, words[1:], words[0])
        return
    _, left, _ = command.make_parser(context).parse_args(words)
    if left:
        raise click.UsageError(f"nothing takes {left}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_example_uses_commands_and_options_that_exist(path: Path) -> None:
    wrong = []
    for line in commands_in(path.read_text(encoding="utf-8")):
        try:
            parse(_root, arguments(line), "supervisor")
        except click.UsageError as error:
            wrong.append(f"{line}: {error.format_message()}")
    assert wrong == []


def test_the_check_of_examples_would_find_a_wrong_one() -> None:
    assert list(commands_in("```console\n$ supervisor nope\n```\n`supervisor start --nope`")) == [
        "supervisor nope",
        "supervisor start --nope",
    ]
    for line in (
        "supervisor nope",
        "supervisor start --nope",
        "supervisor stop now",
        "supervisor topics nope",
    ):
        with pytest.raises(click.UsageError):
            parse(_root, arguments(line), "supervisor")
    assert arguments("supervisor tail -c 3  # three") == ["tail", "-c", "3"]
    assert arguments("supervisor status --json | jq .health") == ["status", "--json"]


def test_the_example_configuration_has_no_mistakes() -> None:
    from supervisor.config.load import load

    loaded = load(ROOT / "examples" / "pageviews.toml", {})
    assert loaded.settings.app.pipeline == "pageviews"


def test_every_test_that_the_guarantees_name_exists() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+?)(…|\.py)?`", page("docs/guarantees.md"))
    assert named
    missing = [
        name
        for name, end in named
        if not (any((ROOT / "tests").rglob(f"{name}.py")) if end == ".py" else f"def {name}" in tests)
    ]
    assert missing == []


# -- messages -------------------------------------------------------------------------------------------

# What ends a worker or keeps the supervisor from starting: an operator meets these, and nothing else tells.
RUNNING = [
    *sorted((ROOT / "workers").rglob("*.py")),
    *(ROOT / "supervisor" / f"{name}.py" for name in ("supervision", "orders", "seats")),
    *(ROOT / "supervisor" / f"{name}.py" for name in ("host/instance", "rules/placement")),
    *(ROOT / "supervisor" / "reporting" / f"{name}.py" for name in ("status", "livefeed", "logfiles")),
    *(ROOT / "supervisor" / "cli" / f"{name}.py" for name in ("stop", "restart")),
    ROOT / "supervisor" / "systemd" / "install.py",
    *sorted((ROOT / "supervisor" / "control").glob("*.py")),
    *sorted((ROOT / "supervisor" / "operations").glob("*.py")),
    ROOT / "supervisor" / "config" / "changes.py",
    *sorted((ROOT / "supervisor" / "contract").glob("*.py")),
]
# The configuration refuses it before.
UNREACHABLE = {"there is no sink named "}
RAISED = re.compile(
    r"(Fault|WorkerError|Doubt|DlqLimitReached|Fenced|Contested|StateMismatch|BrokersAway|AlreadyRunning"
    r"|Sink[A-Z]\w+)$"
)


def messages(path: Path) -> Iterator[list[str]]:
    """The constant pieces of each error's cause, those of one or two words left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and RAISED.search(node.func.id)
        ):
            continue
        constants = (
            [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
            if node.args
            else []
        )
        pieces = [text for text in constants if isinstance(text, str) and len(words(text)) > 2]
        if pieces:
            yield pieces


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text)


def test_every_error_of_a_running_supervisor_is_in_the_operators_page() -> None:
    known = " ".join(words(page("docs/operations.md")))
    missing = {
        pieces[0]: path.name
        for path in RUNNING
        for pieces in messages(path)
        # Its beginning: an operator looks for what is the same each time, and the page need not say it all.
        if pieces[0] not in UNREACHABLE and not any(" ".join(words(piece)[:4]) in known for piece in pieces)
    }
    assert missing == {}
