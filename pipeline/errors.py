"""The errors of the pipeline; every raise in a stage is one of these.

EnrichmentError
├── TransientError          try again later (time-out, 5xx, 429): retried with back-off, then recorded
├── PermanentError          will never work for this input: recorded as an outcome row, the run goes on
├── BudgetSpent             a limit that somebody set is used up: the step keeps what it has and ends as partial
├── PoisonedResultError     the model's output is impossible (NaN, wrong shape): the batch fails, nothing is written
└── CriticalError           credentials or configuration are wrong: the run stops with one message
    └── RefusedReleaseError a model is worse than the one in force, which stays so
"""


class EnrichmentError(Exception):
    """Base of all errors that the pipeline raises on purpose; `code` is a remote server's own word for it, if any."""

    code: str = ""


class TransientError(EnrichmentError):
    """The same call may succeed later."""


class PermanentError(EnrichmentError):
    """The same call will never succeed; the input gets an outcome row."""


class BudgetSpent(EnrichmentError):
    """The run's own limit of records, requests or hours is reached: no failure, another start goes on."""


class PoisonedResultError(EnrichmentError):
    """A result that cannot be true (wrong width, NaN, score outside 0–1): write nothing of this batch."""


class CriticalError(EnrichmentError):
    """Nothing can go on: the message names the setting, file or credential to mend."""


class RefusedReleaseError(CriticalError):
    """A version of a model is worse than the one in force; the message says in what, and how to release it all the same."""
