"""Whether a transcription or a subtitle is in the format that it claims (annotation contract 5.3, TR and SU/CA).

XML has to be well-formed, without entity declarations, and to have the right root; the schemas are not applied.
"""

import re
from collections.abc import Callable
from xml.parsers import expat

_TIME = r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)[.,](\d{3})"
_VTT_CUE = re.compile(rf"{_TIME.replace('[.,]', '[.]')}\s+-->\s+{_TIME.replace('[.,]', '[.]')}(?:\s+.*)?")
_SRT_CUE = re.compile(rf"{_TIME.replace('[.,]', ',')}\s*-->\s*{_TIME.replace('[.,]', ',')}(?:\s+.*)?")

Check = Callable[[str], None]


class InvalidText(Exception):
    """The text is not in its format; the message says where."""


def _xml(root: str) -> Check:
    def check(text: str) -> None:
        seen: list[str] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            if not seen:
                seen.append(name.rpartition(" ")[2])

        def refuse(*declaration: object) -> None:
            raise InvalidText("entity declarations are not allowed")

        parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
        parser.StartElementHandler = start
        parser.EntityDeclHandler = refuse
        try:
            parser.Parse(text.encode("utf-8", "replace"), True)
        except expat.ExpatError as error:
            raise InvalidText(str(error)) from error
        if seen != [root]:
            raise InvalidText(f"Cannot find the declaration of element '{seen[0]}'")

    return check


def _any_text(text: str) -> None:
    """Plain text and HTML are not looked into."""


def _srt(text: str) -> None:
    """Blocks apart by blank lines: a number, a line of times, lines of text."""
    blocks = re.split(r"\n[ \t]*\n+", text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff \t\n"))
    for number, block in enumerate(blocks, start=1):
        lines = block.strip("\n").split("\n")
        if len(lines) < 2 or not lines[0].strip().isdecimal():
            raise InvalidText(f"block {number} has no number")
        _check_times(_SRT_CUE.fullmatch(lines[1].strip()), lines[1])


def _vtt(text: str) -> None:
    """A `WEBVTT` line, and times in every line with an arrow. White space before the first line is tolerated."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff \t\n").split("\n")
    if not re.fullmatch(r"WEBVTT([ \t].*)?", lines[0]) or "-->" in lines[0]:
        raise InvalidText("the first line is not WEBVTT")
    for line in lines[1:]:
        if "-->" in line:
            _check_times(_VTT_CUE.fullmatch(line.strip()), line)


def _check_times(match: re.Match[str] | None, line: str) -> None:
    if match is None:
        raise InvalidText(f"no times in '{line[:80]}'")
    begin, end = ([int(part or 0) for part in match.groups()[first : first + 4]] for first in (0, 4))
    if end < begin:
        raise InvalidText(f"a cue ends before it begins: '{line[:80]}'")


FULL_TEXT_FORMATS: dict[str, Check] = {
    "text/plain": _any_text,
    "text/html": _any_text,
    "application/alto+xml": _xml("alto"),
    'application/alto+xml;version="4.3"': _xml("alto"),
    "application/vnd.prima.page+xml": _xml("PcGts"),
    'application/vnd.prima.page+xml;version="2019-07-15"': _xml("PcGts"),
}
SUBTITLE_FORMATS: dict[str, Check] = {"application/x-subrip": _srt, "text/vtt": _vtt, "application/ttml+xml": _xml("tt")}
