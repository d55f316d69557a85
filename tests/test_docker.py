"""The deployment that docker-compose.yml and docker/ describe."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def test_the_service_image_has_no_torch_and_the_worker_image_has() -> None:
    service, worker = ((ROOT / "docker" / f"{name}.Dockerfile").read_text() for name in ("service", "worker"))
    assert "'.[s3,tracing]'" in service
    assert "COPY ntk" not in service
    assert "'.[worker,s3,tracing]'" in worker
    assert "COPY ntk" in worker


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_run_unprivileged_and_say_whether_they_are_well(path: Path) -> None:
    text = path.read_text()
    assert "USER lookahead" in text
    assert "HEALTHCHECK" in text
    copied = {line.split()[1] for line in text.splitlines() if line.startswith("COPY ") and len(line.split()) == 3}
    assert all((ROOT / name).exists() for name in copied)


def test_everything_that_stays_up_is_checked_and_restarted() -> None:
    for name, service in SERVICES.items():
        built = "build" in service
        if name == "migrate":
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped"
            assert built or "healthcheck" in service


def test_nothing_starts_before_the_schema_is_there() -> None:
    for name in ("service", "worker-bulk", "worker-interactive"):
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_the_database_counts_as_ready_only_when_it_listens() -> None:
    # While it is set up for the first time, a passing server answers on the unix socket alone.
    assert "127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


def test_keys_are_required_and_ports_stay_on_loopback() -> None:
    assert SERVICES["service"]["environment"]["LOOKAHEAD_AUTH"] == "on"
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert ":?" in SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]


def _compose(*files: str, password: str | None) -> "subprocess.CompletedProcess[str]":
    arguments = [part for file in files for part in ("-f", file)]
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/tmp"}
    if password is not None:
        environment["POSTGRES_PASSWORD"] = password
    return subprocess.run(
        ["docker", "compose", *arguments, "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
    )


def _has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _has_compose(), reason="the docker client with its compose plug-in is not installed")
@pytest.mark.parametrize("files", [("docker-compose.yml",), ("docker-compose.yml", "docker/gpu.yml")])
def test_compose_accepts_it_and_asks_for_a_password(files: tuple[str, ...]) -> None:
    accepted = _compose(*files, password="secret")
    assert accepted.returncode == 0, accepted.stderr
    refused = _compose(*files, password=None)
    assert refused.returncode != 0
    assert "POSTGRES_PASSWORD" in refused.stderr


def test_the_pinned_versions_install_with_the_storage_extra() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert pins["s3fs"] == pins["fsspec"], "s3fs wants the fsspec of its own version"
