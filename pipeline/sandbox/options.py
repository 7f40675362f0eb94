"""What a sandbox is started with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SandboxOptions:
    """Settings of one sandbox.

    `base_url` is the address under which clients reach it (empty: `http://host:port`); it stands in every link
    the servers give out. `image_hosts` are the hosts in picture links: loopback addresses among them are bound on
    the same port, names are only written into links. `records`: so many records, computed from the collection's.
    `profile` and `seed` choose the faults that are on from the start (`faults.py`). `error_format` is the error body of the
    Annotation API: `2024` or `2026` (annotation contract 7.1, 7.2); `auth_disabled` is its test mode (4.5), `page_member`
    its name for the collection of a page (8.3). `accept_wskey`: the key as a parameter, which
    Europeana calls deprecated. `quota` is that of the Search and Record APIs, `annotation_quota` that of the Annotation API.
    """

    collection: Path
    state_dir: Path
    vocabulary_path: Path
    base_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8090
    key: str = "sandbox"
    image_hosts: tuple[str, ...] = ("127.0.0.2", "127.0.0.3")
    quota: int | None = None
    annotation_quota: int | None = None
    quota_window_s: int = 3600
    index_lag_s: float = 0.0
    date: str = "2026-01-01"
    token_lifetime_s: int = 300
    records: int | None = None
    profile: str = "calm"
    seed: int = 1
    error_format: str = "2024"
    auth_disabled: bool = False
    page_member: str = "isPartOf"
    accept_wskey: bool = True
    with_token_lifetime_s: float = 600.0
    with_import_delay_s: float = 0.05

    @property
    def public_url(self) -> str:
        """The address clients use, without a trailing slash."""
        return (self.base_url or f"http://{self.host}:{self.port}").rstrip("/")
