"""Ask people on WITH: labels that are worth a vote go into a campaign, each once.

The platform does not recognise repeats, so what the campaign has already is read first and only the difference is sent.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pipeline.clients.with_platform import WithClient
from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run
from pipeline.domain.label import Decision
from pipeline.errors import CriticalError, EnrichmentError
from pipeline.feedback.hand_over import WITH_MOST, campaign
from pipeline.feedback.sample import Candidate, choose_labels
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_policy, load_vocabulary

MOST_BYTES = 5_000_000  # of one import; the platform reads 10 MB (WITH contract §3.6)
SHOWN = 20

Annotation = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """How many labels were chosen, how many of them the campaign had already, how many were imported now and refused, and
    (record, body URI) of those that the campaign does not have afterwards: most often WITH does not know the record.

    `unchecked`: why it could not be looked at in the end; empty when it was.
    """

    chosen: int
    there: int
    imported: int = 0
    refused: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    unchecked: str = ""


def ask(run_key: str, name: str, *, budget: int, seed: int, settings: Settings, dry_run: bool = False) -> Asked:
    """Choose up to `budget` labels of a run (`sample.choose_labels`) and put them to the vote in the campaign `name`.

    With `dry_run` nothing is sent. Raises CriticalError when there is no such campaign, when another start is at it, and as
    `choose_labels` does; TransientError as `WithClient.import_tags`: the same command then goes on.
    """
    client = WithClient(settings)
    if not client.has_campaign(name):
        raise CriticalError(f"WITH has no campaign {name!r}: make one there, for validation, and name it with --campaign")
    lake = open_lake(settings)
    run = lake.run(run_key)
    chosen = _allowed(lake, run, choose_labels(lake, run, budget, seed=seed, settings=settings, for_with=True), settings)
    with _alone(name, settings):
        return put_to_the_vote(client, chosen, name, run, settings=settings, dry_run=dry_run)


def put_to_the_vote(
    client: WithClient, chosen: Sequence[Candidate], name: str, run: Run, *, settings: Settings, dry_run: bool
) -> Asked:
    """What the campaign does not have yet of these labels, after their records and terms; then it is looked what is there."""
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    document = campaign(chosen, vocabulary, settings, run)
    graph = list({_key(one): one for one in document["@graph"]}.values())  # two labels may have one URI
    new = _not_there(client, name, graph)
    if dry_run or not new:
        return Asked(len(graph), len(graph) - len(new))
    client.fill_collection(settings.with_collection, list(dict.fromkeys(one["target"]["source"] for one in new)))
    client.load_terms(settings.with_thesaurus, _terms(chosen, vocabulary))
    imported = refused = 0
    with Progress("feedback", "annotations", settings=settings, total=len(new)) as progress:
        for part in _parts(new):
            if left := _not_there(client, name, part):  # all of that took its time
                taken, lost = client.import_tags(name, document | {"@graph": left}, timeout_s=settings.with_import_timeout_s)
                imported, refused = imported + taken, refused + lost
            progress.advance(len(part))
    done = Asked(len(graph), len(graph) - len(new), imported, refused)
    try:
        return replace(done, missing=tuple(map(_key, _not_there(client, name, new))))
    except EnrichmentError as error:  # what is imported is imported
        return replace(done, unchecked=str(error))


def _not_there(client: WithClient, name: str, annotations: Sequence[Annotation]) -> list[Annotation]:
    """Those that the campaign does not have, while no import into it is under way."""
    client.check_no_import(name)
    there = client.campaign_tags(name)
    return [one for one in annotations if _key(one) not in there]


def _allowed(lake: Lake, run: Run, chosen: Sequence[Candidate], settings: Settings) -> list[Candidate]:
    """What the policy and the vocabulary of today let leave; the labels may have been made before."""
    policy = load_policy(settings.policy_file)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    kept = set()
    if policy.provider_ceilings:
        for batch in lake.rows(run, "records", ["record_id", "provider", "data_provider"]):
            ceilings = {row["record_id"]: policy.ceiling(row["data_provider"], row["provider"]) for row in batch.to_pylist()}
            kept |= {record for record, ceiling in ceilings.items() if ceiling and ceiling[1] == Decision.HIDDEN}
    concepts = {one.label: vocabulary.by_slug.get(one.label) for one in chosen}
    may = {label for label, concept in concepts.items() if concept and concept.body_uri and not policy.held_back(concept)}
    return [one for one in chosen if one.label in may and one.record_id not in kept]


def _key(annotation: Annotation) -> tuple[str, str]:
    return annotation["target"]["source"], annotation["body"]


def _terms(chosen: Sequence[Candidate], vocabulary: Vocabulary) -> dict[str, tuple[str, str]]:
    """URI → (label, description); without a description the platform imports no tag with it."""
    concepts = {one.label: vocabulary.by_slug[one.label] for one in chosen}
    return {
        concept.body_uri: (concept.label("en"), f"{concept.label('en')} ({concept.kind})")
        for concept in concepts.values()
        if concept.body_uri
    }


def _parts(annotations: Sequence[Annotation]) -> Iterator[list[Annotation]]:
    """In their order, as many as one import takes."""
    part: list[Annotation] = []
    size = 0
    for one in annotations:
        own = len(json.dumps(one, ensure_ascii=False).encode()) + 2
        if part and (len(part) == WITH_MOST or size + own > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += own
    if part:
        yield part


@contextmanager
def _alone(name: str, settings: Settings) -> Iterator[None]:
    """One import into a campaign at a time: the platform writes its list of imports as a whole, and the last one wins."""
    folder = settings.var_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"campaign-{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CriticalError(f"another start is importing into the campaign {name!r}; wait until it has ended") from None
        yield
