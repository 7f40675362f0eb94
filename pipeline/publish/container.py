"""The container target: published labels in any server that speaks the W3C Web Annotation Protocol."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pipeline.clients.annotation_container import ContainerClient
from pipeline.clients.annotation_posting import AmbiguousError
from pipeline.database.ledger import Settled, State
from pipeline.domain.annotation import as_request
from pipeline.errors import PermanentError, TransientError
from pipeline.publish.europeana import Each, document
from pipeline.settings import Settings

KIND = "container"


def target_name(settings: Settings) -> str:
    """The container's name in the ledger: its host, and a mark of its whole address."""
    url = settings.annotation_container_url
    return f"{KIND}@{urlsplit(url).netloc[:31]}#{hashlib.sha256(url.encode()).hexdigest()[:8]}"


class ContainerTarget:
    """Works at ledger rows through a container; safe to use from many threads.

    `settles_s`: so long a request that was cut off may still be under way.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = ContainerClient(settings)
        self._settings = settings
        self.settles_s = settings.api_timeout_s

    def prepare(self, record_ids: Sequence[str]) -> None:
        """Nothing to do: a container takes annotations on anything."""

    def close(self) -> None:
        """Nothing to do."""

    def send_all(self, rows: Sequence[Mapping[str, Any]], each: Each) -> list[Settled | BaseException]:
        """Create the annotations of all rows."""
        return each(self._send, rows)

    def _send(self, row: Mapping[str, Any]) -> Settled:
        """Always says what became of it, except for CriticalError, which goes up."""
        try:
            remote_id = self._client.create(as_request(document(row, self._settings)), name=_name(row))
        except PermanentError as error:
            return Settled(row["id"], State.REFUSED, error=str(error))
        except TransientError as error:
            return Settled(row["id"], State.PLANNED, error=str(error))
        except AmbiguousError as error:
            return Settled(row["id"], State.SENDING, error=str(error))
        return Settled(row["id"], State.SENT, remote_id, created=True)

    def resolve(self, row: Mapping[str, Any]) -> Settled:
        """A row whose reply was lost: sent if the container has it, else planned again; still open if it cannot be asked."""
        try:
            found = self._found(row)
        except (TransientError, PermanentError) as trouble:
            return Settled(row["id"], State.SENDING, error=f"{row['last_error'] or 'sending was interrupted'}; {trouble}")
        if found:
            return Settled(row["id"], State.SENT, found[0], created=True)
        return Settled(row["id"], State.PLANNED, error=row["last_error"] or "sending was interrupted")

    def update(self, row: Mapping[str, Any]) -> Settled:
        """Let the annotation say what the row says now; one that somebody has removed stays removed."""
        try:
            try:
                self._client.update(row["remote_id"], as_request(document(row, self._settings)))
            except PermanentError as error:
                is_there = self._client.is_there(row["remote_id"])
                return Settled(row["id"], State.SENT if is_there else State.GONE, error=str(error))
        except (TransientError, PermanentError) as error:
            return Settled(row["id"], State.UPDATING, error=str(error))
        return Settled(row["id"], State.SENT)

    def withdraw(self, row: Mapping[str, Any]) -> Settled:
        """Delete the annotation and see that it is gone; one whose reply was lost is looked for first."""
        ends = State.HELD if row["state"] == State.RETRACTING else State.WITHDRAWN
        try:
            for uri in [row["remote_id"]] if row["remote_id"] else self._found(row):
                self._client.delete(uri)
                if self._client.is_there(uri):
                    raise TransientError(f"{uri} is still there after it was deleted")
        except (TransientError, PermanentError) as error:
            return Settled(row["id"], State(row["state"]), error=str(error))
        return Settled(row["id"], ends, error=row["last_error"])

    def _found(self, row: Mapping[str, Any]) -> list[str]:
        return self._client.find_all(row["canonical"], name=_name(row))


def _name(row: Mapping[str, Any]) -> str:
    """The name that we ask for: our statement's own, the same in every run."""
    return str(row["canonical"]).rpartition(":")[2]
