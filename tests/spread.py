"""Which tests of a run that is spread over several processes (``pytest -n``) go to the same one, one by one.

The marker ``xdist_group`` is meant for that, and has no effect: pytest 9.2 lets no plugin rename tests.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Spread"]

TOGETHER = {
    # One of them at a time: each starts brokers of its own, which take memory and all processors.
    "test_cluster_brokers": "brokers",
    "test_compose_brokers": "brokers",
    "test_faults": "brokers",
    "test_topics_faults": "brokers",
    "test_cluster_commands": "clusters",
    "test_demo": "clusters",
    # What they share takes long to make.
    "test_packaging": "wheel",
    "test_supervisord_coexistence": "wheel",
}


class Spread(LoadScopeScheduling):
    """Each test goes where there is nothing else to do, and those of :data:`TOGETHER` first."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(PurePosixPath(nodeid.partition("::")[0]).stem, nodeid)
