"""Any S3 server as an object store, through boto3. Credentials come from boto3's own chain, never from our settings."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError, TransientError


class S3Store:
    """Objects of one bucket below a prefix. S3 writes are atomic by nature; large files go up in parts."""

    def __init__(self, bucket: str, prefix: str, *, endpoint_url: str | None = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint_url = endpoint_url
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = self._connect()

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def put_file(self, key: str, path: Path) -> None:
        with self._translated(key):
            self._client.upload_file(str(path), self._bucket, self._prefix + key)

    def get_bytes(self, key: str) -> bytes:
        return self._read(key)

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        try:
            return self._read(key, Range=f"bytes={offset}-{offset + size - 1}") if size else b""
        except EOFError:
            return b""

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="enrich-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            with self._translated(key):
                self._client.download_file(self._bucket, self._prefix + key, str(path))
            yield path

    def exists(self, key: str) -> bool:
        try:
            with self._translated(key):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
        with self._translated(prefix):
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def address(self, key: str) -> str:
        return f"{self.root}/{key}"

    def _read(self, key: str, **options: str) -> bytes:
        with self._translated(key):
            reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **options)
            content: bytes = reply["Body"].read()
        return content

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """boto3's errors as ours: an absent key, refused or missing credentials, passing trouble."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except ClientError as error:
            raise self._meaning(error, key) from error
        except NoCredentialsError as error:
            raise CriticalError(f"{self.root}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except (BotoCoreError, Boto3Error) as error:
            raise TransientError(f"{self.address(key)}: {error}") from error

    def _meaning(self, error: Any, key: str) -> Exception:
        """An absent key, refused credentials, or passing trouble."""
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return FileNotFoundError(self.address(key))
        text = f"{self.address(key)}: {error}"
        if status == 416:  # a range that begins behind the end
            return EOFError(text)
        return TransientError(text) if status >= 500 else CriticalError(text)

    def _connect(self) -> Any:
        import boto3
        from botocore.config import Config

        # Path-style addresses and checksums only when required: other servers than Amazon's refuse the newer forms.
        config = Config(
            s3={"addressing_style": "path"},
            retries={"max_attempts": 5, "mode": "standard"},
            connect_timeout=10,
            read_timeout=60,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.client("s3", endpoint_url=self._endpoint_url, config=config)
