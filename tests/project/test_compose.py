"""`docker-compose.yml` and `Dockerfile`, held without an engine: the official schema and our own promises."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from blipq.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {
    "BLIPQ_PHOTOS": "/srv/photos",
    "POSTGRES_PASSWORD": "postgres-secret",
    "REDIS_PASSWORD": "redis-secret",
    "BLIPQ_API_TOKEN": "token-secret",
}
REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<bare>\w+)|\{(?P<name>\w+)(?:(?P<rule>:?[-?+])(?P<word>[^}]*))?\})")


def interpolate(value: Any, variables: dict[str, str]) -> Any:
    """Do to parsed YAML what Compose does; KeyError for a variable that is demanded and missing."""
    if isinstance(value, dict):
        return {key: interpolate(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [interpolate(entry, variables) for entry in value]
    return REFERENCE.sub(lambda found: _resolve(found, variables), value) if isinstance(value, str) else value


def _resolve(found: re.Match[str], variables: dict[str, str]) -> str:
    if found["dollar"]:
        return "$"
    name, rule, word = found["name"] or found["bare"], found["rule"] or "", found["word"] or ""
    given = variables.get(name)
    there = bool(given) if rule.startswith(":") else given is not None
    if rule.endswith("+"):
        return word if there else ""
    if rule.endswith("?") and not there:
        raise KeyError(f"{name}: {word}")
    if rule.endswith("-") and not there:
        return word
    return given or ""


def compose(**variables: str) -> dict[str, Any]:
    parsed: dict[str, Any] = interpolate(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), variables)
    return parsed


def ours() -> dict[str, dict[str, Any]]:
    return {name: s for name, s in compose(**REQUIRED)["services"].items() if s["image"].startswith("blipq:")}


def dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, the rest) with its continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("text", "variables", "becomes"),
    [
        ("$A-${A}", {"A": "1"}, "1-1"),
        ("${A:-2}${A-2}", {"A": ""}, "2"),
        ("${A-2}", {}, "2"),
        ("${A:+x}${B:+y}", {"A": "1"}, "x"),
        ("$$A", {"A": "1"}, "$A"),
    ],
)
def test_interpolation_is_compose_s(text: str, variables: dict[str, str], becomes: str) -> None:
    assert interpolate([text], variables) == [becomes]


def test_the_file_holds_to_the_official_schema(tmp_path: Path) -> None:
    (tmp_path / "compose.json").write_text(json.dumps(compose(**REQUIRED)))
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*check, tmp_path / "compose.json"], check=True, stdout=subprocess.DEVNULL)
    # and the check is alive: a word that Compose does not know fails
    (tmp_path / "wrong.json").write_text(json.dumps({"services": {"a": {"image": "b", "restrat": "no"}}}))
    assert subprocess.run([*check, tmp_path / "wrong.json"], check=False, stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize("name", REQUIRED)
def test_each_secret_and_the_photos_are_demanded_by_name(name: str) -> None:
    with pytest.raises(KeyError, match=f"{name}: set it"):
        compose(**{key: value for key, value in REQUIRED.items() if key != name})
    with pytest.raises(KeyError, match=f"{name}: set it"):
        compose(**REQUIRED | {name: ""})


def test_photos_are_read_only_at_the_identical_path() -> None:
    for service in ours().values():
        [photos] = [v for v in service["volumes"] if v["type"] == "bind"]
        assert photos["source"] == photos["target"] == "/srv/photos"
        assert photos["read_only"] is True
        assert photos["bind"]["create_host_path"] is False


def test_every_setting_in_it_is_one_that_blipq_knows_and_takes() -> None:
    known = {variable(field): field for field in Settings.model_fields}
    for service in ours().values():
        given = {known[name]: value for name, value in service["environment"].items()}
        settings = Settings(**given)
        assert not settings.embedded
        assert "postgres-secret@postgres" in settings.ledger_url


def test_what_a_service_waits_for_exists_and_can_come_true() -> None:
    services = compose(**REQUIRED)["services"]
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            awaited = services[other]
            assert "profiles" not in awaited, f"{name} waits for {other}, which a profile may leave out"
            if wanted["condition"] == "service_healthy":
                assert "test" in awaited["healthcheck"]
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert awaited["restart"] == "no"


def test_volumes_that_are_mounted_are_declared() -> None:
    whole = compose(**REQUIRED)
    mounted = [volume for service in whole["services"].values() for volume in service["volumes"]]
    named = {v.partition(":")[0] if isinstance(v, str) else v["source"] for v in mounted if "bind" not in v}
    assert named == set(whole["volumes"])


def test_one_worker_has_the_gpus_and_the_other_needs_none() -> None:
    gpu, cpu = ours()["worker"], ours()["worker-cpu"]
    assert (gpu["profiles"], cpu["profiles"]) == (["gpu"], ["cpu"])
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert gpu["build"]["args"]["TORCH"] == "cuda"
    assert "deploy" not in cpu
    assert cpu["build"]["args"]["TORCH"] == "cpu"


def test_nothing_is_published_but_the_pages_on_loopback() -> None:
    published = {name: s["ports"] for name, s in compose(**REQUIRED)["services"].items() if "ports" in s}
    assert published == {"serve": ["127.0.0.1:8000:8000"]}
    assert ours()["serve"]["environment"]["BLIPQ_API_TOKEN"] == "token-secret"


def test_our_services_have_no_rights_to_spare() -> None:
    for service in ours().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service  # the image's own, which is not root


def test_no_password_stands_in_a_command_line() -> None:
    for service in compose(**REQUIRED)["services"].values():
        assert "secret" not in json.dumps([service.get("command"), service.get("healthcheck")])


def test_build_arguments_are_the_dockerfile_s() -> None:
    declared = {rest.partition("=")[0] for instruction, rest in dockerfile() if instruction == "ARG"}
    for service in ours().values():
        assert set(service["build"]["args"]) <= declared


def test_a_stage_uses_no_argument_that_it_does_not_declare() -> None:
    everywhere = {
        name for instruction, rest in dockerfile() if instruction == "ARG" for name in [rest.partition("=")[0]]
    }
    declared: set[str] = set()
    for instruction, rest in dockerfile():
        if instruction == "FROM":
            declared = set()
        elif instruction == "ARG":
            declared.add(rest.partition("=")[0])
        elif instruction in ("RUN", "USER", "COPY"):
            assert {name for name in re.findall(r"\$\{?(\w+)", rest) if name in everywhere} <= declared


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    stages = {rest.split(" AS ")[1] for instruction, rest in dockerfile() if instruction == "FROM" and " AS " in rest}
    ignored = (ROOT / ".dockerignore").read_text().split()
    for words in [rest.split() for instruction, rest in dockerfile() if instruction == "COPY"]:
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
        else:
            assert all((ROOT / word).exists() for word in words[:-1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {name.split(".")[1] for name in project["tool"]["setuptools"]["packages"]}
    for needed in [
        *rooms,
        "__init__.py",
        "__main__.py",
        "settings.py",
        "pyproject.toml",
        "constraints.txt",
        "README.md",
    ]:
        assert (ROOT / needed).exists()
        assert not any(fnmatch.fnmatch(needed, pattern) for pattern in ignored)


def test_the_shell_in_the_dockerfile_parses() -> None:
    for script in [rest for instruction, rest in dockerfile() if instruction == "RUN"]:
        subprocess.run(["sh", "-n", "-c", re.sub(r"^(--\S+\s+)+", "", script)], check=True)


def test_the_image_runs_blipq_and_not_as_root() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    last = dict(dockerfile())  # the last of each instruction
    assert json.loads(last["ENTRYPOINT"])[0] in scripts
    assert last["USER"] == "${UID}"
    assert ("ARG", "UID=1000") in dockerfile()
    assert shlex.split(last["HEALTHCHECK"].partition("CMD ")[2].strip("[]").replace(",", ""))[0] in scripts


@pytest.mark.parametrize("service", ["migrate", "worker", "worker-cpu", "serve"])
def test_each_service_runs_a_command_that_blipq_has(service: str, blipq: Any) -> None:
    words = ours()[service]["command"]
    flags = [word for word in words if word.startswith("--")]
    names = words[: words.index(flags[0])] if flags else words
    shown = blipq(*names, "--help")
    assert shown.returncode == 0, shown.stderr
    assert all(flag in shown.stdout for flag in flags)
