"""Ask people on WITH: labels that are worth a vote go into a campaign, each once.

The platform does not recognise repeats, so what the campaign has already is read first and only the difference is sent.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.clients.with_platform import WithClient
from pipeline.datasets.lake import open_lake
from pipeline.datasets.run import Run
from pipeline.errors import CriticalError
from pipeline.feedback.hand_over import WITH_MOST, campaign
from pipeline.feedback.sample import Candidate, choose_labels
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

MOST_BYTES = 5_000_000  # of one import; the platform reads 10 MB (WITH contract §3.6)
SHOWN = 20


@dataclass(frozen=True)
class Asked:
    """How many labels were chosen, how many of them the campaign had already, how many were imported now and refused, and
    (record, body URI) of those that the campaign does not have afterwards: most often WITH does not know the record."""

    chosen: int
    there: int
    imported: int = 0
    refused: int = 0
    missing: tuple[tuple[str, str], ...] = ()


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
    chosen = choose_labels(lake, run, budget, seed=seed, settings=settings, for_with=True)
    with _alone(name, settings):
        return put_to_the_vote(client, chosen, name, run, settings=settings, dry_run=dry_run)


def put_to_the_vote(
    client: WithClient, chosen: Sequence[Candidate], name: str, run: Run, *, settings: Settings, dry_run: bool
) -> Asked:
    """What the campaign does not have yet of these labels, after their records and terms; then it is looked what is there."""
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    document = campaign(chosen, vocabulary, settings, run)
    graph, there = document["@graph"], client.campaign_tags(name)
    new = [one for one in graph if _key(one) not in there]
    if dry_run or not new:
        return Asked(len(graph), len(graph) - len(new))
    client.fill_collection(settings.with_collection, list(dict.fromkeys(one["target"]["source"] for one in new)))
    client.load_terms(settings.with_thesaurus, _terms(chosen, vocabulary))
    imported = refused = 0
    with Progress("feedback", "annotations", settings=settings, total=len(new)) as progress:
        for part in _parts(new):
            taken, lost = client.import_tags(name, document | {"@graph": part}, timeout_s=settings.with_import_timeout_s)
            imported, refused = imported + taken, refused + lost
            progress.advance(len(part))
    there = client.campaign_tags(name)
    missing = tuple(_key(one) for one in new if _key(one) not in there)
    return Asked(len(graph), len(graph) - len(new), imported, refused, missing)


def _key(annotation: Mapping[str, Any]) -> tuple[str, str]:
    return annotation["target"]["source"], annotation["body"]


def _terms(chosen: Sequence[Candidate], vocabulary: Vocabulary) -> dict[str, tuple[str, str]]:
    """URI → (label, description); without a description the platform imports no tag with it."""
    concepts = {one.label: vocabulary.by_slug[one.label] for one in chosen}
    return {
        concept.body_uri: (concept.label("en"), f"{concept.label('en')} ({concept.kind})")
        for concept in concepts.values()
        if concept.body_uri
    }


def _parts(annotations: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """In their order, as many as one import takes."""
    part: list[Mapping[str, Any]] = []
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
