"""Object storage: one port, two stores (a local folder, any S3 server), chosen by the address."""

from pipeline.storage.local import LocalStore, room_for
from pipeline.storage.port import ObjectStore
from pipeline.storage.s3 import S3Store

__all__ = ["LocalStore", "ObjectStore", "S3Store", "open_store", "room_for"]


def open_store(root: str, *, s3_endpoint_url: str = "") -> ObjectStore:
    """The store at `file:///folder` or `s3://bucket/prefix`; CriticalError for any other address."""
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    from pipeline.errors import CriticalError

    address = urlsplit(root)
    if address.scheme == "file" and address.path:
        return LocalStore(Path(unquote(address.path)))
    if address.scheme == "s3" and address.netloc:
        return S3Store(address.netloc, address.path.strip("/"), endpoint_url=s3_endpoint_url or None)
    raise CriticalError(f"STORAGE_URL {root!r} is neither file:///folder nor s3://bucket/prefix")
