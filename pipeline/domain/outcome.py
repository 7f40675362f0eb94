"""Outcomes and reasons: every input of every stage ends in exactly one of them."""

from dataclasses import dataclass
from enum import StrEnum

DETAIL_LENGTH = 500


class Outcome(StrEnum):
    """What became of an input."""

    OK = "ok"
    REJECTED = "rejected"
    FAILED = "failed"
    GONE = "gone"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why an input is not ok: a closed list; a new reason is a change to the list, with its meaning."""

    HTTP_4XX = "http_4xx"  # the server refused for good
    HTTP_5XX = "http_5xx"  # the server failed, after all retries
    TIMEOUT = "timeout"  # no answer in time, after all retries
    CONNECTION = "connection"  # no connection, or it broke, after all retries
    TOO_MANY_REDIRECTS = "too_many_redirects"  # a chain longer than allowed, or a loop
    SSRF_REFUSED = "ssrf_refused"  # the address is private, or not http(s)
    ROBOTS_DISALLOWED = "robots_disallowed"  # the host does not want machines there
    NOT_AN_IMAGE = "not_an_image"  # HTML, PDF, text, zero bytes
    UNSUPPORTED_FORMAT = "unsupported_format"  # an image that cannot be decoded here
    TRUNCATED = "truncated"  # the file ends early
    CORRUPT = "corrupt"  # damaged inside
    BOMB = "bomb"  # claims more pixels than allowed
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"  # more bytes than allowed
    BAD_ASPECT = "bad_aspect"  # far too long or wide
    NEAR_BLANK = "near_blank"  # one colour all over
    PLACEHOLDER = "placeholder"  # a host's "picture not available"
    NO_IMAGE = "no_image"  # the record names no image
    RIGHTS_RESTRICTED = "rights_restricted"  # the rights rule forbids it
    GONE = "gone"  # 404 or 410: it was there once
    MOVED = "moved"  # it answers under another id
    MISSING_FIELD = "missing_field"  # a required field is absent
    UNPARSEABLE = "unparseable"  # the reply cannot be read
    BUDGET = "budget"  # left for a later run
    NO_PUBLIC_URI = "no_public_uri"  # the concept has no URI to publish
    ABSTAINS = "abstains"  # the concept never reached the wanted precision
    EXCLUDED = "excluded"  # the policy keeps the concept in the house
    NOT_ALLOWED = "not_allowed"  # the policy lets out only named concepts, and this is none of them
    BLOCKED_TERM = "blocked_term"  # the concept's label holds a word that the policy does not let out
    SHARED_PICTURE = "shared_picture"  # the picture stands at more records than the policy lets pass
    PROVIDER_HIDDEN = "provider_hidden"  # the policy keeps labels on the institution's records in the house
    HELD_BACK = "held_back"  # at the door: the policy of today, or a bound on the number of annotations
    WITHDRAWN = "withdrawn"  # a person took the statement back
    TAKEN_DOWN = "taken_down"  # the record was forgotten at somebody's wish and must not come back
    POISONED = "poisoned"  # an impossible model result
    NO_NEIGHBOUR = "no_neighbour"  # no other picture to suggest
    REFUSED = "refused"  # the platform does not take the statement
    NOT_SENT = "not_sent"  # a dry run, or the platform could not be asked: a later run takes it up


# Labels with these reasons leave for nobody: not as an annotation, not hidden, and not as a question to people.
KEPT_IN_HOUSE = frozenset(
    {
        Reason.EXCLUDED,
        Reason.NOT_ALLOWED,
        Reason.BLOCKED_TERM,
        Reason.RIGHTS_RESTRICTED,
        Reason.SHARED_PICTURE,
        Reason.PROVIDER_HIDDEN,
    }
)


@dataclass(frozen=True)
class OutcomeRow:
    """An input that is not ok. `input_id` is a record id, or `record_id|image_url`, or a canonical annotation.

    `raw` keeps what could not be read, as JSON without any key, so that it can be read once we know how.
    """

    stage: str
    input_id: str
    record_id: str | None
    outcome: Outcome
    reason: Reason
    detail: str = ""
    attempt: int = 1
    raw: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", " ".join(self.detail.split())[:DETAIL_LENGTH])
