from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cluster.properties import Node, deviations, render, replication

DOCS = Path(__file__).parents[2] / "docs" / "cluster.md"
NODES = [Node(1, 9092, 19092), Node(2, 9093, 19093), Node(3, 9094, 19094)]


def read(text: str) -> dict[str, str]:
    """The properties as Java reads them."""
    lines = (line.split("=", 1) for line in text.splitlines())
    return {key: unescape(value) for key, value in lines}


def unescape(value: str) -> str:
    units = re.sub(r"\\u([0-9a-f]{4})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else m[2], value)
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def test_every_listener_is_on_loopback() -> None:
    for node in NODES:
        values = read(render(node.number, NODES, Path("/data")))
        addresses = [values[key] for key in ("listeners", "advertised.listeners", "controller.quorum.voters")]
        hosts = re.findall(r"(?://|@)([^:,]*):", ",".join(addresses))
        assert len(hosts) == 6
        assert set(hosts) == {"127.0.0.1"}


def test_every_node_names_the_same_voters_and_its_own_ports() -> None:
    rendered = [read(render(node.number, NODES, Path("/data"))) for node in NODES]
    assert {one["controller.quorum.voters"] for one in rendered} == {
        "1@127.0.0.1:19092,2@127.0.0.1:19093,3@127.0.0.1:19094"
    }
    assert [one["node.id"] for one in rendered] == ["1", "2", "3"]
    assert [one["advertised.listeners"] for one in rendered] == [
        "CLIENT://127.0.0.1:9092",
        "CLIENT://127.0.0.1:9093",
        "CLIENT://127.0.0.1:9094",
    ]


@pytest.mark.parametrize(("brokers", "factor", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_everything_replicated_has_the_same_factor(brokers: int, factor: str, in_sync: str) -> None:
    values = deviations(brokers)
    factors = {key: value for key, value in values.items() if "replication.factor" in key}
    minimums = {key: value for key, value in values.items() if re.search(r"min\.(isr|insync)", key)}
    assert len(factors) == 4
    assert set(factors.values()) == {factor}
    assert len(minimums) == 3
    assert set(minimums.values()) == {in_sync}
    assert replication(brokers) == (int(factor), int(in_sync))


def test_a_node_that_is_not_in_the_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="node 4"):
        render(4, NODES, Path("/data"))


@pytest.mark.parametrize("data", ["/a,b/data", "/a/data "])
def test_a_directory_that_log_dirs_would_split_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match=r"log\.dirs"):
        render(1, NODES, Path(data))


@given(st.text(st.characters(blacklist_characters=",/\0", blacklist_categories=["Cs"]), min_size=1))
def test_any_other_directory_is_read_back_as_it_was(name: str) -> None:
    path = Path("/data") / f"x{name}x"
    text = render(1, NODES, path)
    assert text.isascii()
    assert read(text)["log.dirs"] == str(path)


def test_the_documentation_lists_every_deviation_with_its_value() -> None:
    documented = dict(
        re.findall(r"^\| `([a-z.]+)` \| `([^`]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert documented == deviations(3)
