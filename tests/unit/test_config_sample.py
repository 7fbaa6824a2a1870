"""The sample configuration and the table in the documentation are those of the structs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from supervisor.config.keys import Key, dotted, keys
from supervisor.config.lines import key_lines
from supervisor.config.load import Loaded, read
from supervisor.config.reference import BEGIN, END, reference, with_reference
from supervisor.config.sample import SET_BY_MOST, sample
from supervisor.contract.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def uncommented() -> str:
    """The sample with the sign before every key taken away."""
    return re.sub(r"^#(?=[^ \n])", "", sample(), flags=re.MULTILINE)


def loaded(text: str, directory: Path) -> Loaded:
    file = directory / "supervisor.toml"
    file.write_text(text)
    return read(file, {}, cpus={0})


def test_the_sample_is_the_defaults(tmp_path: Path) -> None:
    result = loaded(sample(), tmp_path)
    assert result.mistakes == ()
    assert result.settings == Settings()


def test_the_sample_sets_what_most_people_set(tmp_path: Path) -> None:
    origins = loaded(sample(), tmp_path).origins
    assert {key for key, origin in origins.items() if origin.kind == "file"} == set(SET_BY_MOST)


def test_the_sample_loads_with_every_comment_sign_removed(tmp_path: Path) -> None:
    result = loaded(uncommented(), tmp_path)
    assert result.mistakes == ()
    assert {str(origin) for origin in result.origins.values()} & {"default"} == set()


def test_every_key_is_in_the_sample() -> None:
    assert {key.path for key in keys()} <= set(key_lines(uncommented()))
    assert (
        tomllib.loads(uncommented())["topics"]["aggregates"]["config"] == Settings().topics.aggregates.config
    )


def test_every_meaning_is_in_the_sample() -> None:
    prose = " ".join(re.sub(r"^# ", "", sample(), flags=re.MULTILINE).split())
    assert [key.doc for key in keys() if " ".join(key.doc.split()) not in prose] == []


def test_the_documentation_has_the_table_of_today() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_reference(text) == text, f"python -m supervisor.config.reference {DOCUMENT} renews it"


def test_the_table_has_a_row_for_every_key() -> None:
    def row(key: Key) -> str:
        section = reference().split(f"### `[{dotted(key.path[:-1])}]`\n")[1].split("###")[0]
        return next(line for line in section.splitlines() if line.startswith(f"| `{key.path[-1]}` |"))

    for key in keys():
        assert key.doc in row(key)
    assert all(len(re.findall(r"(?<!\\)\|", row(key))) == 5 for key in keys())


def test_a_document_without_markers_is_refused() -> None:
    assert with_reference(f"a\n{BEGIN}\nold\n{END}\nb").startswith("a\n")
    for document in ["a", f"{BEGIN}", f"{END}"]:
        with pytest.raises(ValueError, match="lacks"):
            with_reference(document)
