"""`enrich sandbox serve`, as `make sandbox` calls it: ready soon, prints commands that work, stops when told to."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port

ROOT = Path(__file__).parents[2]
TIMEOUT = 10
READY_WITHIN_S = 3.0


def _command(options: SandboxOptions, folder: Path) -> list[str]:
    where = {"--collection": options.collection, "--port": free_port(), "--state-dir": folder / "state"}
    arguments = [str(part) for pair in where.items() for part in pair]
    return [sys.executable, "-m", "pipeline", "sandbox", "serve", *arguments]


@pytest.fixture
def served(sandbox_options: SandboxOptions, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[str], float]]:
    """The running command, the lines it printed, and how long that took."""
    command = [*_command(sandbox_options, tmp_path), "--quota", "1000", "--quota-window", "60"]
    begin = time.monotonic()
    environment = {**os.environ, "VAR_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if line.endswith("/_sandbox/journal\n"):
                    break
            yield process, lines, time.monotonic() - begin
        finally:
            process.kill()


def printed_commands(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("curl ", "TOKEN="))]


def by_hand(line: str) -> int:
    """The status of a simple curl line, where there is no curl: -H, -d, -G with --data-urlencode, -X, -L and -o."""
    words = iter(shlex.split(line)[1:])
    headers, data, parameters, method, address = {}, None, [], None, ""
    for word in words:
        if word in ("-H", "-d", "-X", "-o", "--data-urlencode"):
            value = next(words)
            if word == "-H":
                headers.update([value.split(": ", 1)])
            elif word == "-d":
                data = value
            elif word == "-X":
                method = value
            elif word == "--data-urlencode":
                parameters.append(tuple(value.split("=", 1)))
        elif not word.startswith("-"):
            address = word
    kind = method or ("GET" if data is None else "POST")
    answer = requests.request(kind, address, headers=headers, data=data, params=parameters, timeout=TIMEOUT)
    return answer.status_code


def test_it_is_ready_soon_and_every_printed_command_works(
    served: tuple[subprocess.Popen[str], list[str], float], tmp_path: Path
) -> None:
    process, lines, took = served
    assert took < READY_WITHIN_S, f"ready after {took:.1f} s"
    commands = printed_commands(lines)
    assert len(commands) >= 12
    if shutil.which("curl"):
        # One shell for all, since a later line uses the token of an earlier one; twice, since people try again.
        script = "\n".join(re.sub(r"^curl ", "curl --fail ", line) for line in commands * 2)
        shell = ["bash", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr + done.stdout[-500:]
        assert '"status":"ok"' in done.stdout and "tried at" in done.stdout
        assert all((tmp_path / name).stat().st_size for name in ("picture.jpg", "thumbnail.jpg", "part.jpg", "redirected.jpg"))
    simple = [line for line in commands if "$" not in line]
    assert [by_hand(line) for line in simple] == [200] * len(simple)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--profile", "nasty"], "unknown profile"),
        (["--error-format", "1999"], "--error-format"),
        (["--host", "192.0.2.1"], "cannot listen"),
    ],
)
def test_wrong_options_are_one_clear_line(
    sandbox_options: SandboxOptions, tmp_path: Path, options: list[str], text: str
) -> None:
    done = subprocess.run(
        [*_command(sandbox_options, tmp_path), *options],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr


def test_faults_cost_nothing_while_there_are_none(sandbox: SandboxProcess) -> None:
    session = requests.Session()
    begin = time.monotonic()
    for _ in range(200):
        assert session.get(f"{sandbox.url}/robots.txt", timeout=TIMEOUT).status_code == 200
    assert time.monotonic() - begin < 3
