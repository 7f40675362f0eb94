"""An S3 server on the loopback interface: s3rver, from npm, with its objects in a folder of its own."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pipeline.sandbox.process import free_port
from tests.benchmarks.for_images.places import ENVIRONMENTS
from tests.benchmarks.for_images.serving import LocalServer

REQUIREMENT = "s3rver@3.7.1"
BUCKET = "bench"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_DEFAULT_REGION": "us-east-1"}
PART = 8 * 2**20  # boto3 sends what is larger in parts


def install_s3() -> Path:
    """The server's program, installed if it is not there; SystemExit when that fails."""
    folder = ENVIRONMENTS / "s3rver"
    program = folder / "node_modules" / ".bin" / "s3rver"
    if program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit(f"The long benchmark of the images needs {REQUIREMENT}: install Node.js with npm")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"The long benchmark of the images needs {REQUIREMENT}: npm install said\n{done.stderr}")
    return program


class S3Server(LocalServer):
    """Serves one bucket while the `with` block lasts."""

    def __init__(self, program: Path, folder: Path) -> None:
        (folder / "objects").mkdir(parents=True)
        port = free_port()
        place = ["--directory", folder / "objects", "--configure-bucket", BUCKET]
        address = ["--address", "127.0.0.1", "--port", str(port), "--no-vhost-buckets"]
        super().__init__([program, *place, *address, "--silent"], port, folder / "log")

    def environment(self, prefix: str) -> dict[str, str]:
        """What a process must be told for a lake below `prefix`."""
        address = {"STORAGE_URL": f"s3://{BUCKET}/{prefix}", "S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}
        return CREDENTIALS | address

    def check(self) -> None:
        """RuntimeError unless it takes objects in parts and gives ranges of them, as the pipeline needs it."""
        client = self._client()
        content = os.urandom(PART + 1_000)
        parts = client.create_multipart_upload(Bucket=BUCKET, Key="check")
        place = {"Bucket": BUCKET, "Key": "check", "UploadId": parts["UploadId"]}
        pieces = enumerate((content[:PART], content[PART:]), 1)
        tags = [{"PartNumber": n, "ETag": client.upload_part(**place, PartNumber=n, Body=b)["ETag"]} for n, b in pieces]
        client.complete_multipart_upload(**place, MultipartUpload={"Parts": tags})
        reply = client.get_object(Bucket=BUCKET, Key="check", Range=f"bytes={PART - 10}-{PART + 9}")
        if reply["Body"].read() != content[PART - 10 : PART + 10]:
            raise RuntimeError(f"{REQUIREMENT} does not give back a range of what it was sent in parts")
        client.delete_object(Bucket=BUCKET, Key="check")

    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )
