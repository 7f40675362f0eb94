"""Rights statements: their category by prefix (search contract §4)."""

import re
from functools import lru_cache

# Order matters: the first prefix that fits wins; scheme and version are ignored.
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("creativecommons.org/publicdomain/mark/", "open"),
    ("creativecommons.org/publicdomain/zero/", "open"),
    ("creativecommons.org/licenses/by/", "open"),
    ("creativecommons.org/licenses/by-sa/", "open"),
    ("creativecommons.org/licenses/by-nc", "restricted"),
    ("creativecommons.org/licenses/by-nd/", "restricted"),
    ("rightsstatements.org/vocab/noc-nc/", "restricted"),
    ("rightsstatements.org/vocab/noc-oklr/", "restricted"),
    ("rightsstatements.org/vocab/inc-edu/", "restricted"),
    ("europeana.eu/rights/out-of-copyright-non-commercial", "restricted"),
    ("rightsstatements.org/vocab/inc/", "permission"),
    ("rightsstatements.org/vocab/inc-ow-eu/", "permission"),
    ("rightsstatements.org/vocab/cne/", "permission"),
    ("europeana.eu/rights/", "permission"),
)


@lru_cache(maxsize=4096)
def rights_category(uri: str | None) -> str:
    """`open`, `restricted`, `permission`, or `unknown` for a statement that is not in the table."""
    path = re.sub(r"^https?://(www\.)?", "", (uri or "").strip().lower())
    return next((category for prefix, category in _PREFIXES if path.startswith(prefix)), "unknown")
