"""The Europeana target: one semantic tag per record and concept, created once, duplicates recognised."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pipeline.clients.annotation_posting import AmbiguousError
from pipeline.clients.annotations import AnnotationClient, Created, Duplicate, GoneError
from pipeline.database.ledger import Settled, State
from pipeline.domain.annotation import as_request, run_page, tag_annotation
from pipeline.domain.identifiers import ANNOTATION_BASE, annotation_number
from pipeline.errors import EnrichmentError, PermanentError, TransientError
from pipeline.settings import Settings

KIND = "europeana"
# Does a piece of work for each row in the sender's threads; a CriticalError stands in its place.
Each = Callable[[Callable[[Mapping[str, Any]], Settled], Sequence[Mapping[str, Any]]], list[Settled | BaseException]]


def target_name(settings: Settings) -> str:
    """The platform's name in the ledger: a stand-in server is another platform than the real one."""
    return platform_name(KIND, settings.europeana_api_url, "api.europeana.eu")


def platform_name(kind: str, url: str, real_host: str) -> str:
    """`kind` for the real host, `kind@host:port` for any other."""
    host = urlsplit(url).netloc
    return kind if host == real_host else f"{kind}@{host}"[:50]


def document(row: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The W3C document of a ledger row."""
    return tag_annotation(
        record_id=row["record_id"],
        concept_uri=row["concept_uri"],
        body_uri=row["body_uri"],
        target=row["target"],
        created=row["created_at"],
        run_page=run_page(settings.public_base_url, row["run_id"]),
    )


class EuropeanaTarget:
    """Works at ledger rows through the Annotation API (annotation contract §10); safe to use from many threads.

    `settles_s`: so long after a lost reply a search may not know yet of what was stored.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = AnnotationClient(settings)
        self._settings = settings
        self.settles_s = 2 * settings.annotation_index_lag_s + settings.api_timeout_s

    def prepare(self, record_ids: Sequence[str]) -> None:
        """Nothing to do: the records are Europeana's own."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send_all(self, rows: Sequence[Mapping[str, Any]], each: Each) -> list[Settled | BaseException]:
        """Create the annotations of all rows, one record's one after the other; what became of each.

        CriticalErrors come as they are.
        """
        chains: dict[str, list[tuple[Mapping[str, Any], dict[str, Any]]]] = {}
        results: list[Settled | BaseException] = []
        for row in rows:
            try:
                chains.setdefault(row["record_id"], []).append((row, as_request(document(row, self._settings))))
            except PermanentError as error:  # no annotation can point to the record
                results.append(Settled(row["id"], State.REFUSED, error=str(error)))
        replies = self._client.create_all([[one for _, one in chain] for chain in chains.values()])
        duplicates: list[tuple[Mapping[str, Any], tuple[str, ...]]] = []
        for chain, answers in zip(chains.values(), replies, strict=True):
            for (row, _), reply in zip(chain, answers, strict=True):
                if isinstance(reply, Duplicate):
                    duplicates.append((row, reply.numbers))
                else:
                    results.append(_settled(row, reply))
        numbers = {row["id"]: found for row, found in duplicates}
        return results + each(lambda row: self._duplicate(row, numbers[row["id"]]), [row for row, _ in duplicates])

    def resolve(self, row: Mapping[str, Any]) -> Settled:
        """A row whose reply was lost: sent if the platform has it, else planned again; still open if it cannot be asked."""
        try:
            found = self._client.find(row["record_id"], row["body_uri"])
        except (TransientError, PermanentError) as trouble:
            return Settled(row["id"], State.SENDING, error=f"{row['last_error'] or 'sending was interrupted'}; {trouble}")
        if found:
            return Settled(row["id"], State.SENT, found, created=True)
        return Settled(row["id"], State.PLANNED, error=row["last_error"] or "sending was interrupted")

    def update(self, row: Mapping[str, Any]) -> Settled:
        """Let the annotation say what the row says now; one that somebody has removed stays removed."""
        number = annotation_number(row["remote_id"])
        try:
            try:
                self._client.update(number, as_request(document(row, self._settings)))
            except PermanentError as error:
                is_there = self._is_ours(number)
                return Settled(row["id"], State.SENT if is_there else State.GONE, error=str(error))
        except TransientError as error:
            return Settled(row["id"], State.UPDATING, error=str(error))
        return Settled(row["id"], State.SENT)

    def withdraw(self, row: Mapping[str, Any]) -> Settled:
        """Delete the annotation, and prove by a search that none of ours is left that says the same.

        The search also finds what was stored although its reply was lost; it only ever finds our own.
        """
        ends = State.HELD if row["state"] == State.RETRACTING else State.WITHDRAWN
        try:
            deleted = {row["remote_id"]} - {None}
            for uri in deleted:
                self._client.delete(annotation_number(uri))
            # A search may still show for a while what was deleted just now: that is done, and nothing else may be left.
            while left := set(self._client.find_all(row["record_id"], row["body_uri"])) - deleted:
                for uri in left:
                    self._client.delete(annotation_number(uri))
                deleted |= left
        except (TransientError, PermanentError) as error:
            return Settled(row["id"], State(row["state"]), error=str(error))
        return Settled(row["id"], ends, error=row["last_error"])

    def _duplicate(self, row: Mapping[str, Any], numbers: tuple[str, ...]) -> Settled:
        standing = []
        try:
            for number in numbers:
                is_ours = self._is_ours(number)
                if is_ours:
                    return Settled(row["id"], State.SENT, f"{ANNOTATION_BASE}/{number}")
                if is_ours is not None:  # the check for duplicates may learn late what was deleted
                    standing.append(number)
        except TransientError as error:  # whose tag it is will be asked again
            return Settled(row["id"], State.SENDING, error=str(error))
        if numbers and not standing:
            gone = ", ".join(numbers)
            return Settled(row["id"], State.PLANNED, error=f"taken for a duplicate of what was deleted ({gone}): tried later")
        theirs = f"{ANNOTATION_BASE}/{standing[0]}" if standing else None
        return Settled(row["id"], State.DUPLICATE, theirs, "somebody else's tag says the same")

    def _is_ours(self, number: str) -> bool | None:
        """None when it has gone. TransientError when the platform cannot be asked now: that is no answer."""
        try:
            return self._client.is_ours(number)
        except GoneError:
            return None
        except PermanentError:
            return False


def _settled(row: Mapping[str, Any], reply: Created | EnrichmentError) -> Settled | BaseException:
    """What the reply to a creation makes of the row."""
    if isinstance(reply, Created):
        return Settled(row["id"], State.SENT, reply.remote_id, created=True)
    if isinstance(reply, PermanentError):
        return Settled(row["id"], State.REFUSED, error=str(reply))
    if isinstance(reply, TransientError):
        return Settled(row["id"], State.PLANNED, error=str(reply))
    if isinstance(reply, AmbiguousError):  # a search now might not know of it yet
        return Settled(row["id"], State.SENDING, error=str(reply))
    return reply
