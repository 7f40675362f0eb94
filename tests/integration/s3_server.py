"""S3 servers on loopback for tests: moto, s3rver (a program in another language, by others), and one that fails on demand."""

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3  # noqa: TID253  processes of tests may take long to start
from moto.server import ThreadedMotoServer

from pipeline.settings import PROJECT_ROOT

BUCKET = "lake"
REGION = "us-east-1"
S3RVER = "s3rver@3.7.1"
_TOOLS = PROJECT_ROOT / "var" / "test-tools"
_INSTALL_WITHIN_S = 180
_READY_WITHIN_S = 30
_STOP_WITHIN_S = 10
# s3rver makes its page tokens with DES, which current versions of Node keep behind this option.
_NODE_OPTIONS = ("--openssl-legacy-provider",)
_HAS_DES = "require('crypto').createCipheriv('des', Buffer.alloc(8), Buffer.alloc(8))"
# It ends with its input, so it cannot outlive the tests whatever becomes of them.
_SERVE = """
const Server = require("s3rver");
process.stdin.resume().on("end", () => process.exit());
new Server(JSON.parse(process.argv[1])).run().then(at => console.log(`listening on ${at.port}`));
"""


class NotAvailable(Exception):
    """A server that this machine cannot run; the message says what is missing."""


@dataclass(frozen=True)
class S3Server:
    """Where a server is, and the key that it knows."""

    name: str
    url: str
    access_key: str = "testing"
    secret_key: str = "testing"

    def environment(self, nowhere: Path) -> dict[str, str]:
        """What boto3 needs to reach this server and no other; `nowhere` is a file that does not exist."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(nowhere),
            "AWS_SHARED_CREDENTIALS_FILE": str(nowhere),
            "NO_PROXY": "127.0.0.1",
        }

    def create_bucket(self) -> None:
        """Make the bucket of the tests."""
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        boto3.session.Session(**keys, region_name=REGION).client("s3", endpoint_url=self.url).create_bucket(Bucket=BUCKET)


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto in a thread of this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server("moto", f"http://{host}:{port}")
    finally:
        server.stop()


@contextmanager
def s3rver_server(folder: Path) -> Iterator[S3Server]:
    """s3rver in a process of its own, with its objects in a folder; NotAvailable where it cannot run.

    What version 3.7.1 does not do as S3 does: it checks the name of a key but not the secret, ignores If-Match, overwrites
    an object in place (a reader meanwhile sees a part), lists by folder and not by key and may lose a key between two
    pages for it, takes `bytes=0-0` for the whole object, and gives a range of an empty object a length of 1.
    """
    node, home = _node(), _installed()
    options = {"address": "127.0.0.1", "port": 0, "silent": True, "vhostBuckets": False, "directory": str(folder / "objects")}
    (folder / "objects").mkdir()
    log = folder / "s3rver.log"
    with log.open("w") as output:
        command = [node, *_NODE_OPTIONS, "-e", _SERVE, json.dumps(options)]
        process = subprocess.Popen(command, cwd=home, stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        yield S3Server("s3rver", f"http://127.0.0.1:{_port(process, log)}", "S3RVER", "S3RVER")
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_WITHIN_S)
        process.kill()
        process.communicate()


def _node() -> str:
    """A Node that can run s3rver."""
    node = shutil.which("node")
    if not node:
        raise NotAvailable("s3rver needs node, which is not there")
    probe = subprocess.run([node, *_NODE_OPTIONS, "-e", _HAS_DES], capture_output=True, text=True, timeout=60)
    if probe.returncode:
        raise NotAvailable(f"s3rver needs a node of version 17 or later with DES: {probe.stderr.strip()[-300:]}")
    return node


def _installed() -> Path:
    """The folder with s3rver; it is installed on first use, and then kept."""
    home = _TOOLS / S3RVER
    if home.is_dir():
        return home
    npm = shutil.which("npm")
    if not npm:
        raise NotAvailable("s3rver is not installed, and npm is not there to do it")
    _TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=_TOOLS) as scratch:
        _install(npm, Path(scratch) / "s3rver")
        with suppress(OSError):  # whoever else installed it meanwhile was first
            (Path(scratch) / "s3rver").rename(home)
    return home


def _install(npm: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", S3RVER]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"npm did not install {S3RVER} within {_INSTALL_WITHIN_S} s") from error
    except subprocess.CalledProcessError as error:
        raise NotAvailable(f"npm could not install {S3RVER}: {error.stderr.strip()[:300]}") from error


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """The port that the server has chosen, as soon as it listens there."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"listening on (\d+)\n", log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise AssertionError(f"s3rver did not start: {log.read_text()[-500:]}")


@dataclass(frozen=True)
class Answer:
    """One answer of the failing server: of its body only `sent` bytes, and then silence or the end of the connection."""

    status: int = 200
    body: bytes = b""
    sent: int | None = None
    stalls: bool = False
    content_range: str = ""


@dataclass(frozen=True)
class Asked:
    """One request that the failing server got."""

    method: str
    path: str
    body: bytes


@dataclass
class FailingServer:
    """Speaks just enough HTTP for one S3 call; `answer` decides on the answer to each request."""

    answer: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def methods(self) -> list[str]:
        """The methods of the requests so far."""
        return [request.method for request in self.asked]


def one_after_the_other(*answers: Answer) -> Callable[[Asked], Answer]:
    """Each answer once, and the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def failing_server(answer: Callable[[Asked], Answer]) -> Iterator[FailingServer]:
    """A server in a thread that answers as it is told."""
    script = FailingServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append(Asked(self.command, self.path, body))
            _send(self, script.answer(script.asked[-1]), script.released)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        script.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _send(handler: BaseHTTPRequestHandler, answer: Answer, released: threading.Event) -> None:
    handler.send_response(answer.status)
    handler.send_header("Content-Length", str(len(answer.body)))
    handler.send_header("ETag", '"etag"')
    if answer.content_range:
        handler.send_header("Content-Range", answer.content_range)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(answer.body[: answer.sent])
        handler.wfile.flush()
    if answer.stalls:
        released.wait()
    handler.close_connection = answer.sent is not None
