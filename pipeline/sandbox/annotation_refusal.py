"""What the Annotation API says when it refuses: status and text (annotation contract, section 7.3)."""

from typing import Any

PARSE = "Cannot parse body to annotation!"
DENIED = "The user is not authorized to perform the given operation!"
UNSUPPORTED = "Invalid request. Parameter value not supported or not allowed!"
UNEXPECTED = "An unexpected server exception occurred!"


class AnnotationRefusal(Exception):
    """A request that is not accepted: status and the `error` text of the answer.

    `code` stands in the newer error body only (7.2); `report` is the `operationReport` of a batch (6.5).
    """

    def __init__(self, text: str, status: int = 400, *, code: str | None = None, report: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.report = report


class MalformedAnnotation(AnnotationRefusal):
    """A document that cannot be read at all; alone 400 (7.3), inside a batch 500 (6.5)."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(f"{PARSE} {text}", status)


class WrongTypeError(Exception):
    """A parameter that is not of its type: answered in the newer error shape (7.1, last paragraph)."""


def missing(name: str) -> AnnotationRefusal:
    """A mandatory member is not there."""
    return AnnotationRefusal(f"Missing mandatory field! {name}")


def unsupported(name: str, value: object, status: int = 400) -> AnnotationRefusal:
    """A parameter or member has a value that is not allowed."""
    return AnnotationRefusal(f"{UNSUPPORTED} {name}:{value}", status)


def unexpected(cause: str) -> AnnotationRefusal:
    """One of the 500 answers that the contract documents."""
    return AnnotationRefusal(f"{UNEXPECTED} {cause}", 500)
