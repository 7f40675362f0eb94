"""JSON files of other people."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError


def read_json(path: Path, advice: str) -> Any:
    """The whole file, which exports of this kind are small enough for; CriticalError names file, line and `advice`."""
    if not path.is_file():
        raise CriticalError(f"{path}: not found; {advice}")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise CriticalError(f"{path} line {error.lineno}: not JSON ({error.msg}); {advice}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise CriticalError(f"{path}: not JSON in UTF-8 ({error}); {advice}") from error


def texts(value: Any) -> dict[str, str]:
    """The texts and numbers of an object, as texts; nothing for anything else."""
    if not isinstance(value, dict):
        return {}
    return {str(name): str(one) for name, one in value.items() if isinstance(one, str | int | float) and str(one).strip()}
