"""All settings, read once from the environment (or `.env`): the only place that looks there.

Every field is an environment variable of the same name in capitals; `.env.example` lists those that people set.
"""

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Settings with defaults that work on one machine without any account."""

    model_config = SettingsConfigDict(
        env_file=os.environ.get("ENV_FILE", PROJECT_ROOT / ".env") or None,  # empty: none, for tests and the sandbox
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,  # a value that does not fit may still be a secret
    )

    # Where things are kept.
    var_dir: Path = PROJECT_ROOT / "var"
    storage_url: str = ""  # "" = a folder below VAR_DIR; or file:///folder, or s3://bucket/prefix
    s3_endpoint_url: str = ""  # "" = Amazon; else any S3 server (path-style addresses)
    database_url: str = ""  # "" = SQLite below VAR_DIR; or postgresql+psycopg://…

    # The vocabulary and how the outside names us.
    vocabulary_file: Path = PROJECT_ROOT / "vocab" / "concepts.yaml"
    policy_file: Path = PROJECT_ROOT / "vocab" / "policy.yaml"
    quality_file: Path = PROJECT_ROOT / "vocab" / "quality.yaml"
    sources_dir: Path = PROJECT_ROOT / "vocab" / "sources"
    recipes_dir: Path = PROJECT_ROOT / "vocab" / "recipes"
    vocab_base: str = "urn:heritage-enrichment"  # prefix of concept URIs that have no public one
    public_base_url: str = ""  # where the web app is reachable; annotations then point to the run's page
    contact: str = ""  # an address that image hosts can write to; goes into the User-Agent

    # Europeana: Search, Record, Thumbnail and Annotation API.
    europeana_api_url: str = "https://api.europeana.eu"
    europeana_auth_url: str = "https://auth.europeana.eu/auth"
    europeana_api_key: SecretStr = SecretStr("")
    annotation_client_id: str = ""
    annotation_client_secret: SecretStr = SecretStr("")
    annotation_username: str = ""
    annotation_password: SecretStr = SecretStr("")

    # Any server that speaks the W3C Web Annotation Protocol: published labels go there, too; off while none is set.
    annotation_container_url: str = ""
    annotation_container_token: SecretStr = SecretStr("")

    # WITH: hidden labels go there; off while no account is set.
    with_api_url: str = "https://api.crowdheritage.eu"
    with_username: str = ""
    with_password: SecretStr = SecretStr("")
    with_generator: str = "enrichment hidden labels"  # no campaign's name may be its ending
    with_collection: str = "enrichment"  # its name on the platform, unique across all owners
    with_thesaurus: str = "enrichment"  # its name there: the terms that people are asked about
    with_import_timeout_s: float = Field(default=1_800.0, gt=0, le=18_000)  # for one import into a campaign

    # Harvest.
    harvest_pages_per_part: int = Field(default=50, ge=1)  # a checkpoint, and a part, every so many pages of 100

    # HTTP manners.
    api_timeout_s: float = 30.0
    api_attempts: int = 5
    api_backoff_s: float = Field(default=0.5, gt=0)  # doubled with each attempt, up to a minute
    download_concurrency: int = Field(default=64, ge=1)  # visits under way at once, of one task
    download_per_host: int = Field(default=8, ge=1)  # of one host; less while it is in trouble
    download_host_interval_s: float = Field(default=0.0, ge=0)  # at least so long between two visits to a host
    download_timeout_s: float = Field(default=60.0, gt=0)
    download_attempts: int = Field(default=3, ge=1)
    download_hours: float = Field(default=4.0, gt=0)  # what a task has not visited by then is left for a later run
    retry_after_longest_s: float = Field(default=600.0, ge=0)  # a longer Retry-After is cut to this
    respect_robots: bool = True  # robots.txt and X-Robots-Tag
    crawl_delay_longest_s: float = Field(default=30.0, ge=0)  # a longer Crawl-delay is cut to this
    use_iiif: bool = True  # ask a known IIIF image service for a small rendition of large files
    use_thumbnails: bool = True  # take Europeana's thumbnail when the provider has no usable picture
    images_per_record: int = Field(default=50, ge=1)  # of sources with `images: all`
    private_image_hosts: str = ""  # host:port, comma separated: exempt from the address guard (the sandbox)

    # What counts as a usable picture, and the derivative that is kept of it.
    image_max_bytes: int = 50_000_000
    image_min_side_px: int = 32
    image_max_pixels: int = 100_000_000
    image_max_aspect: float = 20.0
    derivative_side_px: int = Field(default=400, ge=32)
    derivative_quality: int = Field(default=90, ge=1, le=100)
    keep_originals: bool = False  # the bytes as received, too
    decode_threads: int = Field(default=0, ge=0)  # 0 = the cores and one more, as each waits for the interpreter now and then
    decode_seconds: float = Field(default=8.0, gt=0)  # bounds for other files than ordinary JPEGs
    decode_memory_mb: int = Field(default=440, ge=64)
    images_to_remove_dir: Path | None = None  # "picture not available" pictures, found again in any size
    placeholder_records: int = Field(default=20, ge=0)  # one look on so many records of a host is a placeholder; 0 = never
    near_duplicate_bits: int = Field(default=3, ge=0, le=3)  # pictures whose hashes differ in no more are near duplicates

    # Sizes of mapped batches; grown when a run would need more than MAX_BATCHES.
    images_per_batch: int = Field(default=5_000, ge=1)
    images_per_shard: int = Field(default=1_000, ge=1)  # a shard and a checkpoint every so many records
    rechecks_per_run: int = Field(default=50_000, ge=1)  # image addresses that are visited again in one run
    suggestions_per_batch: int = 20_000
    publications_per_batch: int = 50_000
    max_batches: int = 1_000

    # Model and decisions.
    model_name: str = "default"
    model_weights_file: Path | None = None
    inference_batch: int = Field(default=32, ge=1)
    inference_engine: str = "auto"  # the one that `enrich model bench-engines` chose, else keras; or an engine by name
    inference_device: Literal["any", "gpu"] = "any"  # gpu: a worker that sees none labels nothing
    hidden_floor: float = Field(default=0.05, ge=0, le=1)
    hidden_top: int = 5
    target_precision: float = Field(default=0.9, gt=0, lt=1)
    review_precision: float = Field(default=0.6, gt=0, lt=1)
    unseen_margin: float = Field(default=0.02, ge=0, lt=1)  # so far may average precision over unseen providers fall
    features_width: int | None = Field(default=None, ge=2)  # of embeddings that training keeps, by principal components; all
    precision_confidence: float = Field(default=0.8, gt=0.5, lt=1)  # one-sided level of the Wilson bound

    # Suggestions and publication.
    suggestions_per_record: int = 10
    publish_concurrency: int = Field(default=64, ge=1)  # requests under way together at most; fewer after trouble
    publish_approval_above: int = Field(default=0, ge=0)  # more new statements than so many wait for a person; 0: never
    publish_pause_s: float = 5.0  # before statements that were put off (a lock, a full quota) are tried once more
    annotation_index_lag_s: float = Field(default=10.0, ge=0)  # until a search of annotations surely knows what was stored
    publish_lease_s: float = 6 * 3600.0  # so long a run may hold statements; as long as a task may take
    max_failed_share: float = Field(default=0.5, gt=0, le=1)  # of a stage's inputs; more stops the run
    label_language: str = "en"

    # A collection folder whose metadata.csv holds the truth: the run report then says how good the labels are.
    truth_collection: Path | None = None
    progress_file: Path | None = None  # where progress lines go for `enrich run` to show

    @classmethod
    def from_environment_alone(cls) -> "Settings":
        """Without `.env`: what it says of the real platforms has no business in a run against stand-ins."""
        return cls(_env_file=None)  # type: ignore[call-arg]

    @property
    def storage_root(self) -> str:
        """The lake's address."""
        return self.storage_url or (self.var_dir / "lake").resolve().as_uri()

    @property
    def database_address(self) -> str:
        """The operational database's SQLAlchemy address."""
        return self.database_url or f"sqlite:///{(self.var_dir / 'enrichment.db').resolve()}"

    @property
    def user_agent(self) -> str:
        """Named, with a contact when one is set (Europeana's fair-use page and good manners ask for it)."""
        contact = f" (+{self.contact})" if self.contact else ""
        return f"heritage-enrichment/0.1{contact}"

    @property
    def exempt_hosts(self) -> frozenset[str]:
        """`host:port` pairs that the address guard lets through although they are private."""
        return frozenset(part.strip() for part in self.private_image_hosts.split(",") if part.strip())

    def fingerprint(self, *names: str) -> str:
        """Short hash of the named settings: a batch that ran under other values is not reused."""
        text = "|".join(f"{name}={getattr(self, name)}" for name in sorted(names))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
