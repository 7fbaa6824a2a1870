"""Ownership of partitions: each has exactly one owner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.faults import ConfigurationFault
from supervisor.rules.placement import place


@given(st.integers(1, 300), st.data())
def test_every_partition_is_owned_once_by_p_mod_n(partitions: int, data: st.DataObject) -> None:
    workers = data.draw(st.integers(1, partitions))
    owned = place(partitions, workers)
    assert len(owned) == workers
    assert sorted(partition for share in owned for partition in share) == list(range(partitions))
    assert all(partition % workers == index for index, share in enumerate(owned) for partition in share)
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


@given(st.integers(1, 300))
def test_no_number_of_workers_is_one_per_partition(partitions: int) -> None:
    assert place(partitions, 0) == [(partition,) for partition in range(partitions)]


def test_more_workers_than_partitions_are_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigurationFault, match=r"5 OLAP workers .* 4 partitions") as caught:
        place(4, 5)
    assert "at most 4" in caught.value.remedy
