"""What several rings of tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from shared_cluster import ADDRESS, Keeper, SharedCluster, ask

if TYPE_CHECKING:
    from supervisor.cluster import Cluster

# One slow example on a busy machine is no failure; on CI hypothesis's own profile stays, with fixed examples.
settings.register_profile("project", parent=settings(), deadline=None)
settings.load_profile("project")

# Whoever runs the tests in the background may ignore these, which outlives exec: then nothing that a test
# starts could be interrupted, or would take a terminal's end for one.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)

ROOT = Path(__file__).parent.parent
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def _build(source: Path, hook: str, output: Path) -> Path:
    """Build as an installer would, by the hooks of PEP 517, but without a network: our own setuptools."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, hook, str(output)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output / done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy: a build leaves its own folders behind in the source."""
    work = tmp_path_factory.mktemp("sdist")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (work / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, work / "source" / name)
    return _build(work / "source", "build_sdist", work)


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, so that it proves that one complete, too."""
    work = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    return _build(work / sdist.name.removesuffix(".tar.gz"), "build_wheel", work)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster | SharedCluster]:
    """A real Kafka of three brokers for the whole run; a test that stops brokers starts its own."""
    if (address := os.environ.get(ADDRESS)) is not None:
        yield ask(address)
        return
    # Imported here: the other rings do without the extra that it needs.
    from supervisor.cluster import Cluster

    with Cluster.start(brokers=3) as running:
        yield running


# -- tests spread over several processes (pytest -n) ------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "tx", None) and not hasattr(config, "workerinput"):
        config.add_cleanup(Keeper().close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Imported here, for whoever has no xdist.
    from spread import Spread

    return Spread(config, log)
