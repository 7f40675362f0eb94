"""Where labelled pictures come from: collections, and other people's data that become rows of the same kind.

Every kind says what absence means; what nobody was asked is unknown, never false.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.errors import CriticalError
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.collection import read_collection_folder
from pipeline.training.sources.feedback import read_feedback
from pipeline.training.sources.folders import read_folders
from pipeline.training.sources.label_studio import read_label_studio
from pipeline.training.sources.lake import read_lake, read_run
from pipeline.training.sources.pilot import read_pilot
from pipeline.training.sources.rows import Labelled, Picture, Source
from pipeline.training.sources.votes import read_votes
from pipeline.training.sources.zooniverse import read_zooniverse

__all__ = ["KINDS", "Beside", "Labelled", "Picture", "Source", "open_source", "read_collection_folder"]

KINDS: Mapping[str, Callable[[str, Beside], Source]] = {
    "folders": lambda text, beside: read_folders(Path(text), beside),
    "label-studio": lambda text, beside: read_label_studio(Path(text), beside),
    "zooniverse": lambda text, beside: read_zooniverse(Path(text), beside),
    "pilot": lambda text, beside: read_pilot(Path(text), beside),
    "votes": lambda text, beside: read_votes(Path(text), beside),
    "lake": read_lake,
    "feedback": read_feedback,
    "run": read_run,
}


def open_source(text: str, beside: Beside) -> Source:
    """The source that `KIND:PATH` names; CriticalError when there is no such kind, or its file cannot be read."""
    kind, _, path = text.partition(":")
    if kind not in KINDS or not path:
        raise CriticalError(f"--source {text}: write KIND:PATH, where KIND is one of {', '.join(KINDS)}")
    return KINDS[kind](path, beside)
