"""The WITH target: hidden labels as single annotations that are not marked for publication.

Their generator is one that no campaign uses: WITH finds a campaign's annotations by the ending of the generator, so
they stay out of every campaign, and out of the crowd's queue.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.clients.with_platform import WithClient, tag_document
from pipeline.database.ledger import Settled, State
from pipeline.errors import PermanentError, TransientError
from pipeline.publish.europeana import Each, platform_name
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

KIND = "with"


def target_name(settings: Settings) -> str:
    """The platform's name in the ledger: a stand-in server is another platform than the real one."""
    return platform_name(KIND, settings.with_api_url, "api.crowdheritage.eu")


def document(row: Mapping[str, Any], settings: Settings, vocabulary: Vocabulary) -> dict[str, Any]:
    """The tag of a ledger row as it is posted."""
    return tag_document(row["record_id"], **_tag(row, settings.with_generator, vocabulary))


def _tag(row: Mapping[str, Any], generator: str, vocabulary: Vocabulary) -> dict[str, Any]:
    concept = vocabulary.resolve(row["concept_uri"])
    body: dict[str, Any] = {"uri": row["body_uri"]}
    if concept:
        body["label"] = {language: [text] for language, text in concept.labels.items()}
        body["label"]["default"] = [concept.label("en")]
    generated = row["created_at"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {"body": body, "generator": generator, "confidence": row["score"], "generated": generated}


class WithTarget:
    """Works at ledger rows through WITH; safe to use from many threads."""

    settles_s = 0.0  # WITH gives back the annotation that it has: nothing need be waited for

    def __init__(self, settings: Settings) -> None:
        self._client = WithClient(settings)
        self._generator, self._collection = settings.with_generator, settings.with_collection
        self._vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)

    def prepare(self, record_ids: Sequence[str]) -> None:
        """A record must be in WITH before it can be annotated."""
        self._client.fill_collection(self._collection, record_ids)

    def close(self) -> None:
        """Nothing to do."""

    def send_all(self, rows: Sequence[Mapping[str, Any]], each: Each) -> list[Settled | BaseException]:
        """Create the annotations of all rows."""
        return each(self._send, rows)

    def _send(self, row: Mapping[str, Any]) -> Settled:
        """Always says what became of it, except for CriticalError, which goes up."""
        try:
            remote_id = self._annotate(row)
        except PermanentError as error:
            return Settled(row["id"], State.REFUSED, error=str(error))
        except TransientError as error:
            return Settled(row["id"], State.PLANNED, error=str(error))
        return Settled(row["id"], State.SENT, remote_id, created=True)

    def resolve(self, row: Mapping[str, Any]) -> Settled:
        """A row whose sending was cut off may be sent again: WITH gives back the annotation that it has."""
        return Settled(row["id"], State.PLANNED, error="sending was interrupted")

    def update(self, row: Mapping[str, Any]) -> Settled:
        """WITH cannot change an annotation; what it says is still true."""
        return Settled(row["id"], State.SENT)

    def withdraw(self, row: Mapping[str, Any]) -> Settled:
        """Take back our part in the annotation, and see that it is gone.

        A row whose reply was lost has no id: setting the same tag once more gives the one that is there.
        """
        ends = State.HELD if row["state"] == State.RETRACTING else State.WITHDRAWN
        remote_id = row["remote_id"]
        try:
            if not remote_id:
                try:
                    remote_id = self._annotate(row)
                except PermanentError:  # WITH does not know the record, so there is nothing to take back
                    return Settled(row["id"], ends, error=row["last_error"])
            self._client.delete_annotation(remote_id, generator=self._generator)
        except (PermanentError, TransientError) as error:
            return Settled(row["id"], State(row["state"]), error=str(error))
        return Settled(row["id"], ends, error=row["last_error"])

    def _annotate(self, row: Mapping[str, Any]) -> str:
        return self._client.annotate(row["record_id"], **_tag(row, self._generator, self._vocabulary))
