"""The search for the line of each key, against texts whose lines are known."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.keys import quoted
from supervisor.config.lines import key_lines


def test_tables_and_keys_are_found() -> None:
    lines = key_lines("a = 1\n\n[olap] # the workers\nnice = 3\n  workers = 2\n")
    assert lines == {("a",): 1, ("olap",): 3, ("olap", "nice"): 4, ("olap", "workers"): 5}


def test_quoted_and_dotted_keys_are_read_as_toml_reads_them() -> None:
    lines = key_lines('[ kafka . client ]\n"sasl.password" = 1\n\'a\\b\' = 2\n"\\u0041" = 3\nx . y=4\n')
    client = ("kafka", "client")
    assert lines[*client, "sasl.password"] == 2
    assert lines[*client, "a\\b"] == 3
    assert lines[*client, "A"] == 4
    assert lines[*client, "x", "y"] == 5


def test_what_looks_like_a_key_inside_a_value_is_none() -> None:
    text = (
        'a = """\n[no]\nb = 1\n\\"""\nno = 2"""\n'
        "c = '''\nd = 1\n'''\n"
        'e = "# = [" # f = 1\n'
        "g = [\n 1, # h = 2\n [2]]\n"
        "i = 3\n"
    )
    assert set(tomllib.loads(text)) == {"a", "c", "e", "g", "i"}
    assert key_lines(text) == {("a",): 1, ("c",): 6, ("e",): 9, ("g",): 10, ("i",): 13}


def test_keys_of_inline_tables_are_found() -> None:
    lines = key_lines('x = 0\nclient = { "a.b" = "}", c = { d = [1, 2] }, e = 3 }\ny = 1\n')
    for path in [("client",), ("client", "a.b"), ("client", "c", "d"), ("client", "e")]:
        assert lines[path] == 2
    assert lines["y",] == 3


def test_an_array_of_tables_has_its_first_line() -> None:
    assert key_lines("\n[[olap]]\nx = 1\n[[olap]]\ny = 2\n")["olap",] == 2


def test_an_empty_text_has_no_keys() -> None:
    assert key_lines("") == {}


_NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), unique=True, max_size=8)
_VALUES = st.sampled_from(
    ["1", '"x = 1"', "'''\n[y]\n'''", '"""\n\n"""', "[\n 1,\n]", "{ a = 1 }", "true # no = 1"]
)


@given(_NAMES, st.data())
def test_any_keys_with_any_values_before_them_are_found(names: list[str], data: st.DataObject) -> None:
    text, expected = "[table]\n", {}
    for name in names:
        expected[name] = text.count("\n") + 1
        text += f"{quoted(name)} = {data.draw(_VALUES)}\n"
    assert set(tomllib.loads(text)["table"]) == set(expected)
    found = key_lines(text)
    assert {name: found["table", name] for name in expected} == expected
