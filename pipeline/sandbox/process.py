"""A sandbox in a process of its own, for tests and for whole runs on one machine."""

import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any

import requests

from pipeline.errors import CriticalError
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.server import serve
from pipeline.sandbox.tokens import CLIENT_ID, CLIENT_SECRET, PASSWORD, REALM

_READY_WITHIN_S = 20
_STOP_WITHIN_S = 10
_TIMEOUT_S = 10


class SandboxProcess:
    """Starts when it is made, and then answers; stop it, or use it in a `with` block."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        # A fresh interpreter: a forked one would share the threads and sockets of whoever starts it.
        self._process: SpawnProcess = multiprocessing.get_context("spawn").Process(target=serve, args=(options,), daemon=True)
        self._process.start()
        self._wait()

    @property
    def url(self) -> str:
        """The address under which it is reached."""
        return self.options.public_url

    @property
    def key(self) -> str:
        """The API key it accepts."""
        return self.options.key

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline and self._process.is_alive():
            try:
                requests.get(f"{self.url}/_sandbox/health", timeout=1).raise_for_status()
                return
            except (requests.ConnectionError, requests.Timeout):  # on a busy machine it takes a while to answer, too
                time.sleep(0.02)
        self.stop(signal.SIGKILL)
        raise CriticalError(f"The sandbox at {self.url} did not start.")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and give its exit status: 0 after a clean stop, the negative number of the signal otherwise."""
        if self._process.is_alive() and self._process.pid:
            os.kill(self._process.pid, how)
        self._process.join(_STOP_WITHIN_S)
        return -1 if self._process.exitcode is None else self._process.exitcode

    def token(self, username: str = "maker", scope: str = "annotations") -> str:
        """An access token for a user of the annotation server."""
        form = {"grant_type": "password", "username": username, "password": PASSWORD, "scope": scope}
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        address = f"{self.url}{REALM}/protocol/openid-connect/token"
        answer = requests.post(address, data={**form, **client}, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def journal(self) -> list[dict[str, Any]]:
        """Every write that the servers have accepted so far."""
        lines: list[dict[str, Any]] = requests.get(f"{self.url}/_sandbox/journal", timeout=_TIMEOUT_S).json()
        return lines

    def faults(self, *rules: dict[str, Any], seed: int = 1) -> list[dict[str, Any]]:
        """Replace all rules of faults, and give them as the server understood them; without rules: none any more."""
        answer = requests.post(f"{self.url}/_sandbox/faults", json={"rules": rules, "seed": seed}, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        shown: list[dict[str, Any]] = answer.json()["rules"]
        return shown

    def __enter__(self) -> "SandboxProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
