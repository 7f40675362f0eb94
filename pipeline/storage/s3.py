"""Any S3 server as an object store, through boto3. Credentials come from boto3's own chain, never from our settings."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError, TransientError
from pipeline.storage.local import room_for
from pipeline.storage.ranges import check_range, neighbours

_REQUEST_ATTEMPTS = 8  # boto3 waits so shortly between them that fewer would not outlast a server's restart
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_BODY_PAUSES_S = (0.2, 1.0)  # before a body that broke off is read again
_PART_BYTES = 16 * 1024 * 1024
_PARTS_AT_ONCE = 4

# Refusals that a repetition may well not meet, beside all 5xx: a stalled or raced request, too many of them.
_PASSING_STATUS = frozenset({408, 409, 412, 425, 429})
_PASSING_CODES = frozenset({"RequestTimeout", "IncompleteBody", "BadDigest", "NoSuchUpload", "SlowDown", "Throttling"})


class _BrokenBody(TransientError):
    """An answer began well and broke off."""


class S3Store:
    """Objects of one bucket below a prefix. S3 writes are atomic by nature; large files go up in parts.

    One store may be used by many threads, and by a forked child beside its parent.
    """

    def __init__(self, bucket: str, prefix: str, *, endpoint_url: str | None = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint_url = endpoint_url
        self._bucket_was_there = False
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")
        self._connection = (os.getpid(), self._connect())

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def put_file(self, key: str, path: Path) -> None:
        with self._translated(key):
            self._client.upload_file(str(path), self._bucket, self._prefix + key, Config=_transfer())

    def get_bytes(self, key: str) -> bytes:
        return self._read(key)[1]

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        check_range(offset, size)
        if not size:  # S3 has no way to ask for nothing
            if not self.exists(key):
                raise FileNotFoundError(self.address(key))
            return b""
        try:
            is_part, content = self._read(key, Range=f"bytes={offset}-{offset + size - 1}")
        except EOFError:
            return b""
        # A server may answer with more than the range, or with the whole object (RFC 9110 §14.2).
        start = 0 if is_part else offset
        return content[start : start + size]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        for offset, size in ranges:
            check_range(offset, size)
        for (start, length), members in neighbours(ranges):
            content = self.get_range(key, start, length)
            for offset, size in members:
                yield content[offset - start : offset - start + size]

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="enrich-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            with self._translated(key), room_for(path):
                self._client.download_file(self._bucket, self._prefix + key, str(path), Config=_transfer())
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
            entries = [entry for page in pages for entry in self._entries(page)]
        keys = (entry["Key"].removeprefix(self._prefix) for entry in entries)
        yield from sorted(keys)  # Amazon's directory buckets and some other servers have an order of their own

    def delete(self, key: str) -> None:
        # Most servers say that an absent key was deleted; some say that it is absent.
        with suppress(FileNotFoundError), self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def address(self, key: str) -> str:
        return f"{self.root}/{key}"

    @property
    def _client(self) -> Any:
        # A forked child must not talk on its parent's connections: each would get answers meant for the other.
        if self._connection[0] != os.getpid():
            self._connection = (os.getpid(), self._connect())
        return self._connection[1]

    def _entries(self, page: Any) -> Iterator[Any]:
        # To boto3 any other page of a web server, or an empty one, would be a folder without keys.
        if "IsTruncated" not in page:
            raise TransientError(f"{self.root} at {self._endpoint}: the answer is no listing")
        yield from page.get("Contents", ())

    def _read(self, key: str, **options: str) -> tuple[bool, bytes]:
        """Is it only a part, and the bytes; asks again when a body breaks off, which boto3 does not do by itself."""
        for pause in _BODY_PAUSES_S:
            with suppress(_BrokenBody):
                return self._read_once(key, **options)
            time.sleep(pause)
        return self._read_once(key, **options)

    def _read_once(self, key: str, **options: str) -> tuple[bool, bytes]:
        with self._translated(key):
            reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **options)
            try:
                content: bytes = reply["Body"].read()
            except _passing_errors() as error:
                raise _BrokenBody(self._said(key, error)) from error
        return reply["ResponseMetadata"]["HTTPStatusCode"] == 206, content

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """boto3's errors as ours: an absent key, something to mend, passing trouble."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except ClientError as error:
            raise self._meaning(error, key) from error
        except S3UploadFailedError as error:
            # An upload of a file hides what the server said: a wrong key must not look like passing trouble.
            cause = error.__context__
            raise (self._meaning(cause, key) if isinstance(cause, ClientError) else self._passing(key, error)) from error
        except NoCredentialsError as error:
            raise CriticalError(f"{self.root}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except _passing_errors() as error:
            raise self._passing(key, error) from error
        except BotoCoreError as error:
            raise CriticalError(f"{self._said(key, error)}; see STORAGE_URL and the AWS_ variables") from error

    def _meaning(self, error: Any, key: str) -> Exception:
        """A server's refusal as our error."""
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response.get("Error", {}).get("Code", "")
        if status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES:
            return self._passing(key, error)
        if status == 404:
            return self._absent(key, code)
        if status == 416:  # a range that begins behind the end
            return EOFError(self._said(key, error))
        # Without the right to list, Amazon's servers refuse to tell that a key is absent.
        hint = "; AWS_ACCESS_KEY_ID must be known, and allowed to read, write and list" if status in (401, 403) else ""
        return CriticalError(self._said(key, error) + hint)

    def _absent(self, key: str, code: str) -> Exception:
        """The key, or the whole bucket: a HEAD does not say which, and a server that is no S3 has neither."""
        if code == "NoSuchBucket" or (code != "NoSuchKey" and not self._has_bucket()):
            return CriticalError(f"STORAGE_URL names the bucket {self._bucket!r}, which does not exist at {self._endpoint}")
        return FileNotFoundError(self.address(key))

    def _has_bucket(self) -> bool:
        """Asked until it was there once; True, too, where the server does not tell."""
        from botocore.exceptions import BotoCoreError, ClientError

        if not self._bucket_was_there:
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] != 404)
            except BotoCoreError:
                return True
            self._bucket_was_there = True
        return True

    def _passing(self, key: str, error: Exception) -> TransientError:
        return TransientError(self._said(key, error))

    def _said(self, key: str, error: Exception) -> str:
        return f"{self.address(key)} at {self._endpoint}: {error}"

    @property
    def _endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def _connect(self) -> Any:
        """A client; CriticalError for an endpoint or an AWS configuration that cannot be used."""
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session

        # Path-style addresses and checksums only when required: other servers than Amazon's refuse the newer forms.
        config = Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": _REQUEST_ATTEMPTS, "mode": "standard"},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            max_pool_connections=32,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            # A session of its own: boto3's shared one may not be used by two threads that connect at once.
            core = get_session()
            core.register_component("data_loader", _descriptions())
            return Session(botocore_session=core).client("s3", endpoint_url=self._endpoint_url, config=config)
        except (BotoCoreError, ValueError) as error:
            raise CriticalError(f"{self.root}: {error}; see S3_ENDPOINT_URL and the AWS_ variables") from error


@cache
def _descriptions() -> Any:
    """What boto3 knows about S3, shared by all clients: reading it takes ten times as long as the rest of a client."""
    from botocore.loaders import create_loader

    return create_loader()


def _passing_errors() -> tuple[type[Exception], ...]:
    """What boto3 and its libraries raise when a server is out of reach, or an answer breaks off or is another."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import ConnectionError, HTTPClientError, IncompleteReadError
    from s3transfer.exceptions import S3DownloadFailedError, S3ValidationError  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    transfers = (Boto3Error, S3DownloadFailedError, S3ValidationError)
    return (HTTPClientError, ConnectionError, HTTPError, IncompleteReadError, *transfers)


def _transfer() -> Any:
    """How files go up and down: a part is streamed from or to the disk, so few parts at once keep memory small."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=_PART_BYTES,
        multipart_chunksize=_PART_BYTES,
        max_concurrency=_PARTS_AT_ONCE,
        preferred_transfer_client="classic",  # the other one, where installed, heeds none of these
    )
