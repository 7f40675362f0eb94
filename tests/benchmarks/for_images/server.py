"""A web server for the pictures: nginx on the loopback interface, with everything that it writes in a folder of its own.

Where there is none, Debian's packages are fetched and unpacked below `var/bench/envs/nginx`: nothing is installed, so
nothing is started by itself.
"""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.sandbox.process import free_port
from tests.benchmarks.for_images.places import ENVIRONMENTS
from tests.benchmarks.for_images.serving import LocalServer

PACKAGES = ("nginx", "libnginx-mod-http-echo")
SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
ECHO_MODULE = "ngx_http_echo_module.so"
DELAY_S = 0.05


@dataclass(frozen=True)
class Program:
    """An nginx that runs here, and the module that can wait without a thread for each request."""

    binary: Path
    echo_module: Path | None


def find_nginx(*, to_delay: bool) -> Program:
    """nginx, fetched if need be; `to_delay` wants the module too. SystemExit when it cannot be had."""
    folder = ENVIRONMENTS / "nginx"
    for place in (_installed, lambda: _unpacked(folder)):
        if (found := place()) and (found.echo_module or not to_delay):
            return found
    _fetch(folder)
    if (found := _unpacked(folder)) and found.echo_module:
        return found
    raise SystemExit(f"The benchmark of the images needs nginx: apt-get install {' '.join(PACKAGES)}")


def _installed() -> Program | None:
    binary = shutil.which("nginx", path=SEARCHED)
    if binary is None:
        return None
    told = subprocess.run([binary, "-V"], capture_output=True, text=True).stderr
    modules = re.search(r"--modules-path=(\S+)", told)
    module = Path(modules.group(1)) / ECHO_MODULE if modules else None
    return Program(Path(binary), module if module and module.exists() else None)


def _unpacked(folder: Path) -> Program | None:
    binary, module = folder / "usr/sbin/nginx", folder / "usr/lib/nginx/modules" / ECHO_MODULE
    if not binary.exists() or subprocess.run([binary, "-v"], capture_output=True).returncode != 0:
        return None
    return Program(binary, module if module.exists() else None)


def _fetch(folder: Path) -> None:
    """Fetch and unpack the packages; lists that are missing or too old are brought up to date, where that is allowed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "download", "--quiet", *PACKAGES]
    if subprocess.run(download, cwd=folder, capture_output=True).returncode != 0:
        subprocess.run(["apt-get", "update", "--quiet"], capture_output=True)
        subprocess.run(download, cwd=folder, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)


class Nginx(LocalServer):
    """Serves a folder's pictures while the `with` block lasts, by one worker process.

    A picture lies at `/<name>`, at `/copy-<number>/<name>`, and, where the program can delay, `DELAY_S` later at
    `/slow/<name>`. With `logged` every answer's bytes are counted; else nothing is written for a request.
    """

    def __init__(self, program: Program, pictures: Path, folder: Path, *, logged: bool = False) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        port, configuration = free_port(), folder / "nginx.conf"
        configuration.write_text(_configuration(program, pictures, folder, port, logged=logged))
        super().__init__([program.binary, "-p", folder, "-e", "stderr", "-c", configuration], port, folder / "error.log")

    def url(self, name: str, *, below: str = "") -> str:
        """A picture's address; `below` is `slow/` or `copy-<number>/`."""
        return f"http://127.0.0.1:{self.port}/{below}{name}"

    def bytes_sent(self) -> int:
        """The bytes of all bodies so far; only where it is `logged`."""
        with (self._folder / "access.log").open() as lines:
            return sum(map(int, lines))


def _configuration(program: Program, pictures: Path, folder: Path, port: int, *, logged: bool) -> str:
    # Started as root, the worker would be another user, who may not be allowed into this folder.
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.getuid() == 0 else ""
    load = f"load_module {program.echo_module};" if program.echo_module else ""
    slow = f"location ~ ^/slow(/.+)$ {{ echo_sleep {DELAY_S}; echo_exec $1; }}" if program.echo_module else ""
    temporary = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{load}
{user}
daemon off;
error_log stderr;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  types {{ image/jpeg jpg; }}
  log_format bytes '$body_bytes_sent';
  access_log {f"{folder}/access.log bytes" if logged else "off"};
{temporary}
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  open_file_cache max=20000 inactive=1h;
  server {{
    listen 127.0.0.1:{port};
    root {pictures};
    location / {{ }}
    location /copy- {{ rewrite ^/copy-[0-9]+(/.+)$ $1 break; }}
    {slow}
  }}
}}
"""
