"""Pictures to remove: a folder of "picture not available" pictures, found again exactly, re-encoded or resized."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.domain.identifiers import image_id
from pipeline.errors import CriticalError
from pipeline.imaging.examine import Examined, Examiner, Rules
from pipeline.imaging.look import sketch_distance

# Both must agree: few bits of the hash differ, and the greys are nearly the same. Either alone takes real pictures away.
MOST_BITS = 10
MOST_GREY_LEVELS = 8.0


@dataclass(frozen=True)
class _Known:
    name: str
    perceptual_hash: str
    sketch: str


class ImagesToRemove:
    """The folder's pictures, to be compared with."""

    def __init__(self, pictures: Iterable[tuple[str, str, Examined]] = ()) -> None:
        self._exact: dict[str, str] = {}
        self._alike: list[_Known] = []
        for name, digest, examined in pictures:
            self._exact.setdefault(digest, name)
            if examined.perceptual_hash and examined.sketch:
                self._alike.append(_Known(name, examined.perceptual_hash, examined.sketch))

    def match(self, digest: str, examined: Examined) -> str | None:
        """Which of them this picture is, in words; None when it is none of them."""
        if digest in self._exact:
            return f"the same file as {self._exact[digest]} of the images to remove"
        if examined.perceptual_hash is None or examined.sketch is None:
            return None
        for known in self._alike:
            bits = hash_distance(known.perceptual_hash, examined.perceptual_hash)
            if bits <= MOST_BITS and sketch_distance(known.sketch, examined.sketch) <= MOST_GREY_LEVELS:
                return f"looks like {known.name} of the images to remove ({bits} of 64 bits differ)"
        return None


def load_images_to_remove(folder: Path | None, rules: Rules) -> ImagesToRemove:
    """The pictures of a folder and its subfolders; none without a folder. CriticalError when it is no folder."""
    if folder is None:
        return ImagesToRemove()
    if not folder.is_dir():
        raise CriticalError(f"{folder} is not a folder with images to remove (IMAGES_TO_REMOVE_DIR)")
    found = []
    with Examiner(rules) as examiner:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            found.append((path.name, image_id(content), examiner.examine(content)))
    return ImagesToRemove(found)


def hash_distance(one: str, other: str) -> int:
    """In how many of its 64 bits a perceptual hash differs from another."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def tone(sketch: str) -> str:
    """A sketch as 4 × 4 areas of 16 grey levels, 16 hex digits: what must be equal besides the hash."""
    values = np.frombuffer(bytes.fromhex(sketch), np.uint8).reshape(4, 4, 4, 4)
    return "".join(f"{area:x}" for area in (values.sum(axis=(1, 3)) // 256).flat)
