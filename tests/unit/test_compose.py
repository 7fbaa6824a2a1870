"""docker-compose.yml and the Dockerfile, as far as they can be proven without an engine.

tests/kafka/test_compose_brokers.py starts the brokers that are declared here.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from supervisor.cli import _root
from supervisor.config.load import load
from supervisor.contract.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BROKERS = {
    name: service for name, service in SERVICES.items() if name.startswith("kafka-") and name[-1].isdigit()
}
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
# What the image itself reads, and so makes no property of.
IMAGE_VARIABLES = {"CLUSTER_ID", "KAFKA_HEAP_OPTS"}


def _properties(broker: str) -> dict[str, str]:
    """The server.properties that the image makes of a broker's environment, by its start script's rule."""
    return {
        _property(variable): str(value)
        for variable, value in BROKERS[broker]["environment"].items()
        if variable not in IMAGE_VARIABLES
    }


def _property(variable: str) -> str:
    name = variable.removeprefix("KAFKA_").lower().replace("_", ".")
    return name.replace("...", "-").replace("..", "_")


def _listeners(value: str) -> dict[str, tuple[str, int]]:
    found = re.findall(r"(\w+)://([^:,]*):(\d+)", value)
    return {name: (host, int(port)) for name, host, port in found}


def _seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)s", duration)
    assert found, duration
    return int(found[1])


def test_the_file_keeps_to_the_compose_specification() -> None:
    command = [
        str(Path(sys.executable).with_name("check-jsonschema")),
        "--builtin-schema",
        "vendor.compose-spec",
    ]
    done = subprocess.run(
        [*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


# --- brokers


def test_three_brokers_form_one_cluster() -> None:
    numbers = {name: service["environment"]["KAFKA_NODE_ID"] for name, service in BROKERS.items()}
    assert numbers == {"kafka-1": 1, "kafka-2": 2, "kafka-3": 3}
    (identity,) = {service["environment"]["CLUSTER_ID"] for service in BROKERS.values()}
    assert len(base64.urlsafe_b64decode(identity + "==")) == 16
    for broker in BROKERS:
        voters = dict(
            voter.split("@") for voter in _properties(broker)["controller.quorum.voters"].split(",")
        )
        port = _listeners(_properties(broker)["listeners"])["CONTROLLER"][1]
        assert voters == {str(number): f"{name}:{port}" for name, number in numbers.items()}


@pytest.mark.parametrize("broker", BROKERS)
def test_every_topic_has_three_copies_of_which_two_must_be_written(broker: str) -> None:
    properties = _properties(broker)
    copies = {key: value for key, value in properties.items() if key.endswith("replication.factor")}
    assert copies == {
        "default.replication.factor": "3",
        "offsets.topic.replication.factor": "3",
        "share.coordinator.state.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
    }
    written = {
        key: value for key, value in properties.items() if key.endswith(("min.isr", "min.insync.replicas"))
    }
    assert written == {
        "min.insync.replicas": "2",
        "share.coordinator.state.topic.min.isr": "2",
        "transaction.state.log.min.isr": "2",
    }
    assert properties["auto.create.topics.enable"] == "false"


@pytest.mark.parametrize("broker", BROKERS)
def test_a_brokers_data_outlives_its_container(broker: str) -> None:
    (volume,) = BROKERS[broker]["volumes"]
    name, folder = volume.split(":")
    assert name == broker, "a volume of its own"
    assert name in COMPOSE["volumes"]
    assert folder == _properties(broker)["log.dirs"]


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_is_reached_at_the_addresses_that_it_advertises(broker: str) -> None:
    properties = _properties(broker)
    listens = _listeners(properties["listeners"])
    advertised = _listeners(properties["advertised.listeners"])
    assert advertised["PLAINTEXT"] == (BROKERS[broker]["hostname"], listens["PLAINTEXT"][1])
    (published,) = BROKERS[broker]["ports"]
    address, outside, inside = published.split(":")
    assert advertised["PLAINTEXT_HOST"] == ("localhost", int(outside))
    assert (address, int(inside)) == ("127.0.0.1", listens["PLAINTEXT_HOST"][1])
    mapped = dict(item.split(":") for item in properties["listener.security.protocol.map"].split(","))
    assert mapped.keys() == listens.keys()
    assert {
        properties["inter.broker.listener.name"],
        properties["controller.listener.names"],
    } <= listens.keys()


@pytest.mark.parametrize("broker", BROKERS)
def test_the_health_check_asks_through_a_listener_whose_advertised_address_resolves_inside(
    broker: str,
) -> None:
    asked = re.search(r"--bootstrap-server \$\$HOSTNAME:(\d+)", BROKERS[broker]["healthcheck"]["test"][1])
    assert asked
    assert _listeners(_properties(broker)["listeners"])["PLAINTEXT"][1] == int(asked[1])


def test_the_brokers_host_ports_are_the_documented_ones() -> None:
    assert [int(service["ports"][0].split(":")[1]) for service in BROKERS.values()] == [29092, 39092, 49092]


# --- all services


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_every_image_is_pinned_to_a_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert {name: image for name, image in images.items() if not re.search(r":v?\d+\.\d+\.\d+$", image)} == {}
    assert {images[name] for name in OURS} == {f"kafka-supervisor:{version}"}
    assert {images[name] for name in BROKERS} == {"apache/kafka:4.3.1"}


def test_everything_waits_for_what_it_needs() -> None:
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    healthy = dict.fromkeys(BROKERS, "service_healthy")
    topics = {"topics": "service_completed_successfully"}
    assert waits == {
        **{broker: {} for broker in BROKERS},
        "topics": healthy,
        "supervisor": topics,
        "generator": topics,
        "kafka-ui": healthy,
    }
    assert all("test" in BROKERS[broker]["healthcheck"] for broker in BROKERS)
    # One that is started again never completes.
    assert SERVICES["topics"]["restart"] == "no"


def test_the_ui_starts_only_when_it_is_asked_for() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "kafka-ui": ["ui"]
    }


def test_a_stop_leaves_the_workers_time_to_drain() -> None:
    assert _seconds(SERVICES["supervisor"]["stop_grace_period"]) > Settings().runtime.drain_timeout_s + 10


# --- our image


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_are_valid_and_reach_every_broker(name: str) -> None:
    environment = OURS[name]["environment"]
    settings = load(None, environment).settings
    inside = [
        f"{broker}:{_listeners(_properties(broker)['listeners'])['PLAINTEXT'][1]}" for broker in BROKERS
    ]
    assert settings.kafka.bootstrap_servers.split(",") == inside


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_exists_with_these_options(name: str) -> None:
    # --help is carried out only once all that stands before it has been understood.
    done = CliRunner().invoke(_root, [*OURS[name]["command"], "--help"])
    assert done.exit_code == 0, done.output


def test_docker_is_told_how_the_supervisor_is() -> None:
    kind, program, *command = OURS["supervisor"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "supervisor")
    done = CliRunner().invoke(_root, [*command, "--help"])
    assert done.exit_code == 0, done.output
    assert "exit code 0" in done.output


def _instructions() -> list[list[str]]:
    """The Dockerfile's instructions, stage by stage."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith("FROM ")] + [len(lines)]
    return [lines[start:end] for start, end in itertools.pairwise(starts)]


def test_the_image_installs_what_the_lock_names_and_keeps_no_build_tools() -> None:
    build, final = _instructions()
    installs = [line for line in build if line.startswith("RUN") and " install " in line]
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]
    assert "uninstall --yes setuptools" in installs[1]
    assert not [line for line in final if "pip" in line or "apt" in line]
    assert "COPY --from=build /opt/kafka-supervisor /opt/kafka-supervisor" in final


def test_the_image_runs_as_a_user_who_owns_the_run_directory() -> None:
    final = _instructions()[-1]
    assert "USER supervisor" in final
    assert 'ENTRYPOINT ["supervisor"]' in final
    (environment,) = (line for line in final if line.startswith("ENV"))
    (run_directory,) = re.findall(r"RUNTIME_DIRECTORY=(\S+)", environment)
    (user,) = (line for line in final if "useradd" in line)
    assert re.search(rf"install --directory --owner=supervisor .*--mode=0700 {run_directory}$", user)
    (uid,) = re.findall(r"--uid (\d+)", user)
    (gid,) = re.findall(r"--gid (\d+)", user)
    for service in OURS.values():
        assert f"{run_directory}:mode=0700,uid={uid},gid={gid}" in service["tmpfs"]


def test_the_supervisor_is_process_1_and_is_told_to_drain() -> None:
    """An instruction that is no list is given to a shell, which then is process 1 and passes no signal on."""
    final = _instructions()[-1]
    commands = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in final if " " in line}
    assert json.loads(commands["ENTRYPOINT"]) == ["supervisor"]
    assert json.loads(commands["CMD"]) == ["start"]
    assert commands["STOPSIGNAL"] == "SIGTERM"
    assert {name: service["init"] for name, service in OURS.items()} == {
        name: name != "supervisor" for name in OURS
    }


def test_the_image_has_a_python_that_the_project_names() -> None:
    (version,) = {re.findall(r"FROM python:(\d+\.\d+)-slim", stage[0])[0] for stage in _instructions()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_what_the_image_copies_is_in_the_build_context() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    sources = [
        word.removeprefix("./").rstrip("/")
        for line in _instructions()[0]
        if line.startswith("COPY")
        for word in line.split()[1:-1]
    ]
    assert "requirements.lock" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        kept = [not rule.startswith("!") for rule in rules if fnmatch(source, rule.removeprefix("!"))]
        assert kept[-1] is False, f"{source} is kept out by .dockerignore"
