"""The API against its own description, by schemathesis; bounded in time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLES, SECONDS = ("20", "200") if os.environ.get("BLIPQ_TEST_LONG") else ("1", "10")  # of the fuzzing alone


def test_the_api_is_what_its_openapi_says(house: Any, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run"]
    command += [
        f"{house.url}/v1/openapi.json",
        "--max-examples",
        EXAMPLES,
        "--exclude-path-regex",
        "events",
        "--no-color",
    ]
    command += ["--seed", "1", "--max-time", SECONDS, "--request-timeout", "70", "--warnings", "off", "--no-shrink"]
    command += ["--phases", "coverage,fuzzing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=350, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


def test_every_route_of_the_api_is_described(house: Any) -> None:
    described = house.client.get("/v1/openapi.json").json()["paths"]
    assert {
        "/v1/caption": {"post"},
        "/v1/jobs": {"post", "get"},
        "/v1/jobs/{job}": {"get"},
        "/v1/jobs/{job}/results": {"get"},
        "/v1/jobs/{job}/cancel": {"post"},
        "/v1/jobs/{job}/events": {"get"},
        "/v1/runs": {"get"},
        "/v1/runs/{run}": {"get"},
        "/v1/runs/{run}/losses": {"get"},
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
    } == {path: set(methods) for path, methods in described.items()}
