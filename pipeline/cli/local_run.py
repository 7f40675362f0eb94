"""`enrich run`: the nightly job on one machine: sandbox, model, Airflow's own DAG, and a summary that a person can read."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from pipeline.cli.model import REFUSED
from pipeline.cli.summary import print_summary
from pipeline.collection import read_collection
from pipeline.errors import CriticalError
from pipeline.reporting.truth import unknown_concepts
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.vocabulary import load_vocabulary

DAG_ID = "enrich_nightly"
AIRFLOW_PORT = 8080
KEY = "sandbox"  # the sandbox's key, client and password: they open nothing else
IMAGE_HOSTS = ("127.0.0.2", "127.0.0.3")
READY_WITHIN_S = 60
STOP_WITHIN_S = 10
PROBLEMS_SHOWN = 20

out = Console(highlight=False, soft_wrap=True)


def builtin_collection(settings: Settings) -> Path:
    """The built-in collection, drawn on first use."""
    from pipeline.sandbox.builtin import write_builtin_collection

    folder = settings.var_dir / "collection"
    write_builtin_collection(folder)
    return folder


class LocalRun:
    """One call of `enrich run`."""

    def __init__(self, settings: Settings, *, collection: Path | None, port: int, date: str, dry_run: bool) -> None:
        self._settings = settings
        self._given = collection
        self._port, self._date, self._dry_run = port, date, dry_run
        self._var = settings.var_dir.resolve()
        self._logs = self._var / "logs"
        # Whoever stops us, by key or by signal: what we have started is stopped on the way out.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)

    def run(self) -> None:
        """Do it all; raises CriticalError that names the log when a part of it fails."""
        started = time.time()
        self._logs.mkdir(parents=True, exist_ok=True)
        folder = self._collection()
        environment = self._environment(folder)
        with self._sandbox(folder, environment):
            self._model(folder, environment)
            self._step("Airflow's database", ["airflow", "db", "migrate"], environment)
            # The night is always the same one here, and the collection may be another: it is harvested again each time.
            conf = json.dumps({"dry_run": self._dry_run, "again": True})
            self._step(f"DAG {DAG_ID}", ["airflow", "dags", "test", DAG_ID, self._date, "--conf", conf], environment)
            self._check_the_platform()
        report = self._report(since=started)
        print_summary(report, (self._var / "latest"), seconds=time.time() - started, out=out)

    def up(self) -> None:
        """The sandbox, a model, Airflow with its UI and the web app, until interrupted."""
        self._logs.mkdir(parents=True, exist_ok=True)
        folder = self._collection()
        environment = self._environment(folder) | {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # loopback only: nobody else can come in
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(AIRFLOW_PORT),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{AIRFLOW_PORT}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "4",
        }
        with self._sandbox(folder, environment):
            self._model(folder, environment)
            self._step("Airflow's database", ["airflow", "db", "migrate"], environment)
            self._step("pools", ["airflow", "pools", "import", str(PROJECT_ROOT / "docker/airflow/pools.json")], environment)
            with self._service(["airflow", "standalone"], environment), self._service(["enrich", "web"], environment):
                out.print(
                    f"[bold]Airflow[/]     http://127.0.0.1:{AIRFLOW_PORT}  (DAGs start paused: switch one on, or trigger it)"
                )
                out.print("[bold]web app[/]     http://127.0.0.1:8091")
                out.print("Ctrl-C stops everything.")
                with suppress(KeyboardInterrupt):
                    signal.pause()

    def _check_the_platform(self) -> None:
        """Ask the platform itself: its journal has every write that it took, over all runs so far."""
        journal = requests.get(f"http://127.0.0.1:{self._port}/_sandbox/journal", timeout=60).json()
        writes = Counter(
            (entry["platform"], entry["record_id"], str(entry["body"])) for entry in journal if entry["operation"] == "create"
        )
        if twice := [key for key, count in writes.items() if count > 1]:
            raise CriticalError(f"{len(twice)} statements stand twice on the platform, for example {twice[0]}")

    def _model(self, folder: Path, environment: dict[str, str]) -> None:
        recipe = "frozen" if self._settings.model_weights_file else "small"
        train = [
            "enrich",
            "train",
            "--collection",
            str(folder),
            "--recipe",
            recipe,
            "--name",
            environment["MODEL_NAME"],
            "--no-engines",
        ]
        self._step("model", train, environment, goes_on_after=REFUSED)  # then with the version in force

    @contextmanager
    def _service(self, command: list[str], environment: dict[str, str]) -> Iterator[None]:
        """A server in a process group of its own, stopped as a whole at the end."""
        with (self._logs / f"{command[0]}-{command[1]}.log").open("w", encoding="utf-8") as handle:
            service = subprocess.Popen(
                command, env=environment, stdout=handle, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield
        finally:
            os.killpg(service.pid, signal.SIGTERM)
            try:
                service.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()

    def _collection(self) -> Path:
        if self._given is None:
            out.print("[bold]collection[/]  the built-in pictures")
            return builtin_collection(self._settings)
        folder = self._given.resolve()
        collection = read_collection(folder)
        vocabulary = load_vocabulary(self._settings.vocabulary_file, base_url=self._settings.vocab_base)
        problems = [*collection.problems, *unknown_concepts(collection, vocabulary)]
        out.print(f"[bold]collection[/]  {self._given}")
        for problem in problems[:PROBLEMS_SHOWN]:
            out.print(f"  [yellow]note[/] {problem}")
        if len(problems) > PROBLEMS_SHOWN:
            out.print(f"  [yellow]note[/] and {len(problems) - PROBLEMS_SHOWN} more of the kind")
        return folder

    def _environment(self, folder: Path) -> dict[str, str]:
        """What the sandbox, the training and Airflow are told: everything below `var/`, everything on loopback."""
        mark = "" if self._given is None else f"-{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        base = f"http://127.0.0.1:{self._port}"
        progress = self._logs / "progress.jsonl"
        progress.write_text("", encoding="utf-8")
        ours = {
            # Each collection has a lake of its own: the same night of another collection is another run.
            "STORAGE_URL": self._settings.storage_url or (self._var / f"lake{mark}").as_uri(),
            "MODEL_NAME": f"{self._settings.model_name}{mark}",
            "DATABASE_URL": self._settings.database_address,
            "ENV_FILE": "",  # accounts of the real platforms have no business here
            "VAR_DIR": str(self._var),
            "TRUTH_COLLECTION": str(folder),
            "PROGRESS_FILE": str(progress),
            "EUROPEANA_API_URL": f"{base}/europeana",
            "EUROPEANA_AUTH_URL": f"{base}/auth",
            "EUROPEANA_API_KEY": KEY,
            "ANNOTATION_CLIENT_ID": KEY,
            "ANNOTATION_CLIENT_SECRET": KEY,
            "ANNOTATION_USERNAME": KEY,
            "ANNOTATION_PASSWORD": KEY,
            "WITH_API_URL": f"{base}/with",
            "WITH_USERNAME": KEY,
            "WITH_PASSWORD": KEY,
            # The sandbox's pictures and, from its API, its thumbnails; what its hosts ask of a crawler's pace is for tests.
            "PRIVATE_IMAGE_HOSTS": ",".join(f"{host}:{self._port}" for host in (*IMAGE_HOSTS, "127.0.0.1")),
            "CRAWL_DELAY_LONGEST_S": "0",
            "AIRFLOW_HOME": str(self._var / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self._logs / "airflow"),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        if self._settings.model_weights_file:
            ours["MODEL_WEIGHTS_FILE"] = str(self._settings.model_weights_file.resolve())
        return {**os.environ, **ours}

    @contextmanager
    def _sandbox(self, folder: Path, environment: dict[str, str]) -> Iterator[None]:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                raise CriticalError(f"port {self._port} is taken; stop what listens there, or say --port")
        command = ["enrich", "sandbox", "serve", "--collection", str(folder), "--port", str(self._port), "--key", KEY]
        log = self._logs / "sandbox.log"
        with log.open("w", encoding="utf-8") as handle:
            server = subprocess.Popen(command, env=environment, stdout=handle, stderr=subprocess.STDOUT)
        try:
            self._wait_until_ready(server, log)
            out.print(f"[bold]sandbox[/]     http://127.0.0.1:{self._port}")
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _wait_until_ready(self, server: "subprocess.Popen[bytes]", log: Path) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if requests.get(f"http://127.0.0.1:{self._port}/_sandbox/health", timeout=2).ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)
        raise CriticalError(f"the sandbox did not start; its log says: {_last_lines(log)}")

    def _step(self, what: str, command: list[str], environment: dict[str, str], *, goes_on_after: int = 0) -> None:
        """Run a command with its output in a log, and draw the progress that it reports."""
        log = self._logs / f"{command[0]}-{command[1]}.log"
        started = time.monotonic()
        out.print(f"[bold]{what}[/]")
        with log.open("w", encoding="utf-8") as handle:
            process = subprocess.Popen(command, env=environment, stdout=handle, stderr=subprocess.STDOUT, cwd=PROJECT_ROOT)
        try:
            for line in _progress_lines(Path(environment["PROGRESS_FILE"]), process):
                out.print(f"  {line}")
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode and process.returncode == goes_on_after:
            out.print(_last_lines(log), highlight=False)
        elif process.returncode != 0:
            raise CriticalError(f"{what} failed; {log} ends with:\n{_last_lines(log)}")
        out.print(f"  [dim]done in {time.monotonic() - started:.0f} s[/]")

    def _report(self, *, since: float) -> dict[str, Any]:
        path = self._var / "latest" / "run_report.json"
        if not path.is_file() or path.stat().st_mtime < since:
            log = self._logs / "airflow-dags.log"
            raise CriticalError(f"the DAG has not come to its end; {log} ends with:\n{_last_lines(log)}")
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return report


def _progress_lines(path: Path, process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """A line per progress report, until the process has ended."""
    with path.open(encoding="utf-8") as handle:
        handle.seek(0, os.SEEK_END)
        ended = False
        while True:
            line = handle.readline()
            if line.endswith("\n"):
                yield _progress_line(json.loads(line))
            elif ended:
                return
            else:
                ended = process.poll() is not None
                time.sleep(0 if ended else 0.2)


def _progress_line(value: dict[str, Any]) -> str:
    total = f" of {value['total']:,}" if value["total"] is not None else ""
    left = f", {value['eta_s']} s left" if value["eta_s"] and not value["finished"] else ""
    return f"{value['stage']:<12} {value['done']:>7,}{total} {value['unit']}, {value['rate_per_s']:g}/s{left}"


def _last_lines(log: Path, count: int = 12) -> str:
    """The errors of ours in a log, which say what to do; without one, its last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    ours = dict.fromkeys(
        line.strip()
        for line in lines
        if re.match(r"\s*(pipeline\.errors\.)?(Critical|Poisoned\w*|Transient|Permanent)Error: ", line)
    )
    return "\n".join(list(ours)[:count] or lines[-count:])
