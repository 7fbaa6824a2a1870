"""The download from a Maven repository: a small one, served over HTTP on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from supervisor.contract.faults import Fault

maven = pytest.importorskip("supervisor.cluster.maven", reason="the extra 'cluster' is not installed")

POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>g</groupId><artifactId>{name}</artifactId><version>1.0</version>
<dependencies>{dependencies}</dependencies></project>"""
ON_B = "<dependency><groupId>g</groupId><artifactId>b</artifactId><version>1.0</version></dependency>"
FILES = {
    "/g/a/1.0/a-1.0.pom": POM.format(name="a", dependencies=ON_B).encode(),
    "/g/b/1.0/b-1.0.pom": POM.format(name="b", dependencies="").encode(),
    "/g/a/1.0/a-1.0.jar": b"A" * 100_000,
    "/g/b/1.0/b-1.0.jar": b"B" * 100_000,
}


class Repository(ThreadingHTTPServer):
    """Serves FILES and their checksums; ``broken`` overrides what is sent for a path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.broken: dict[str, bytes] = {}
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        name, wants_sum = self.path.removesuffix(".sha1"), self.path.endswith(".sha1")
        if name not in FILES:
            self.send_error(404)
            return
        content = FILES[name]
        body = hashlib.sha1(content).hexdigest().encode() if wants_sum else content
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(self.server.broken.get(self.path, body))

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv(maven.REPOSITORY_VARIABLE, f"http://127.0.0.1:{server.server_address[1]}/")
        yield server
        server.shutdown()
        thread.join()


def download(target: Path) -> list[bytes]:
    return [path.read_bytes() for path in maven.download(target, lambda _: None, ["g:a:1.0"])]


def files(target: Path) -> set[str]:
    return {path.name for path in target.rglob("*") if path.is_file()}


def test_dependencies_are_followed(repository: Repository, tmp_path: Path) -> None:
    assert download(tmp_path) == [b"A" * 100_000, b"B" * 100_000]


def test_what_is_there_is_not_fetched_again(repository: Repository, tmp_path: Path) -> None:
    download(tmp_path)
    repository.asked.clear()
    download(tmp_path)
    assert repository.asked == []


def test_a_file_that_is_not_what_its_checksum_says_is_not_kept(
    repository: Repository, tmp_path: Path
) -> None:
    repository.broken["/g/b/1.0/b-1.0.jar"] = b"C" * 100_000
    with pytest.raises(Fault, match=r"b-1\.0\.jar does not match its checksum"):
        download(tmp_path)
    assert "b-1.0.jar" not in files(tmp_path)


def test_an_interrupted_download_is_resumed_with_what_is_missing(
    repository: Repository, tmp_path: Path
) -> None:
    # The connection ends before the announced length is reached, each time.
    repository.broken["/g/b/1.0/b-1.0.jar"] = b"B" * 50_000
    with pytest.raises(Fault, match="could not be downloaded") as raised:
        download(tmp_path)
    assert "start again" in raised.value.remedy
    assert files(tmp_path) == {"a-1.0.pom", "b-1.0.pom", "a-1.0.jar"}
    repository.broken.clear()
    repository.asked.clear()
    assert download(tmp_path) == [b"A" * 100_000, b"B" * 100_000]
    assert repository.asked == ["/g/b/1.0/b-1.0.jar", "/g/b/1.0/b-1.0.jar.sha1"]


def test_a_repository_that_cannot_be_reached_is_named(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(maven.REPOSITORY_VARIABLE, "http://127.0.0.1:1")
    with pytest.raises(Fault, match=r"from http://127\.0\.0\.1:1") as raised:
        download(tmp_path)
    assert maven.REPOSITORY_VARIABLE in raised.value.remedy


def test_a_file_that_is_not_in_the_repository_is_named(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"c-1\.0\.(pom|jar)"):
        maven.download(tmp_path, lambda _: None, ["g:c:1.0"])


def test_a_cache_that_cannot_be_written_is_named(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be written"):
        download(tmp_path / "file")
