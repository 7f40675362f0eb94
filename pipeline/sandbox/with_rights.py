"""Who may read and change what (WITH contract 1.5), and the platform's names of licences (2.4)."""

import json
import re
from typing import Any

from pipeline.sandbox.state import State
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_common import object_id

LEVELS = ("NONE", "READ", "WRITE", "OWN")
# The first prefix that fits names the licence; the platform keeps the source's URI beside it.
_RIGHTS = (
    ("creativecommons.org/publicdomain/mark/", "Public"),
    ("creativecommons.org/publicdomain/zero/", "PublicCC0"),
    ("creativecommons.org/licenses/by-nc-nd/", "Creative_BY_NC_ND"),
    ("creativecommons.org/licenses/by-nc-sa/", "Creative_BY_NC_SA"),
    ("creativecommons.org/licenses/by-nc/", "Creative_BY_NC"),
    ("creativecommons.org/licenses/by-nd/", "Creative_BY_ND"),
    ("creativecommons.org/licenses/by-sa/", "Creative_BY_SA"),
    ("creativecommons.org/licenses/by/", "Creative_BY"),
    ("rightsstatements.org/vocab/NoC-NC/", "NoC_NC"),
    ("rightsstatements.org/vocab/InC-EDU/", "InC_EDU"),
    ("rightsstatements.org/vocab/InC", "InC"),
    ("rightsstatements.org/vocab/CNE/", "CNE"),
    ("rightsstatements.org/vocab/UND/", "UND"),
    ("www.europeana.eu/rights/rr-", "RR"),
)
RIGHTS_BY_CATEGORY = {
    "FREE": ("Public", "PublicCC0", "Creative_BY", "Creative_BY_SA"),
    "LIMITED": ("Creative_BY_ND", "Creative_BY_NC", "Creative_BY_NC_ND", "Creative_BY_NC_SA", "NoC_NC", "InC_EDU"),
    "NORIGHTS": ("InC", "CNE", "RR", "UND", "UNKNOWN"),
}


def rights_name(uri: str) -> str:
    """The platform's name of a rights statement."""
    address = re.sub(r"^https?://", "", uri)
    return next((name for prefix, name in _RIGHTS if address.startswith(prefix)), "UNKNOWN")


class Access:
    """Access to collections, which extends to their records."""

    def __init__(self, state: State, accounts: Accounts) -> None:
        self._state = state
        self._accounts = accounts

    def more(self, collection_id: str) -> dict[str, Any]:
        """What a collection has beside its name and its owner."""
        row = self._state.one("SELECT document FROM with_collection_more WHERE collection_id = ?", (collection_id,))
        document: dict[str, Any] = json.loads(row[0]) if row else {}
        return {"isPublic": False, "acl": {}, **document}

    def keep(self, collection_id: str, more: dict[str, Any]) -> None:
        """Store it."""
        self._state.execute(
            "INSERT OR REPLACE INTO with_collection_more (collection_id, document) VALUES (?, ?)",
            (collection_id, json.dumps(more, ensure_ascii=False)),
        )

    def level(self, name: str | None, collection_id: str) -> str:
        """What a user, or nobody in particular, may do with a collection."""
        more = self.more(collection_id)
        everyone = "READ" if more["isPublic"] else "NONE"
        if name is None:
            return everyone
        row = self._state.one("SELECT owner FROM with_collection WHERE id = ?", (collection_id,))
        if self._accounts.is_superuser(name) or (row and row[0] == name):
            return "OWN"
        return max(everyone, str(more["acl"].get(object_id("user", name), "NONE")), key=LEVELS.index)

    def allows(self, name: str | None, collection_id: str, wanted: str) -> bool:
        """Whether the level reaches the one that a call needs."""
        return LEVELS.index(self.level(name, collection_id)) >= LEVELS.index(wanted)

    def reads_record(self, name: str | None, db_id: str) -> bool:
        """Whether one of the collections that hold a record may be read."""
        rows = self._state.all("SELECT collection_id FROM with_entry WHERE record_db_id = ?", (db_id,))
        return any(self.allows(name, row[0], "READ") for row in rows)

    def acl(self, collection_id: str, owner: str) -> dict[str, Any]:
        """The `access` part of a collection."""
        more = self.more(collection_id)
        others = [{"user": user, "level": level} for user, level in more["acl"].items()]
        return {"isPublic": more["isPublic"], "acl": [{"user": object_id("user", owner), "level": "OWN"}, *others]}
