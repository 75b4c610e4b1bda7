"""What a manifest says that an export of Megolm sessions covers.

An element names a session, `{"first_index": n, "session_id": "…"}`, or says that nobody has looked,
`{"sessions": "unknown"}`: a key export file or a backup key that was sealed unopened may hold any session.
"""

from collections.abc import Hashable
from json.encoder import encode_basestring
from typing import Final

from migrator.core.signatures import is_identifier

UNKNOWN: Final = {"sessions": "unknown"}
_UNKNOWN_TEXT: Final = '{"sessions":"unknown"}'
_LAST_INDEX: Final = 2**32 - 1


def read_coverage(entry: object) -> set[Hashable]:
    """The session that an element names; none where it is not known. `ValueError` where it is misshapen."""
    if entry == UNKNOWN:
        return set()
    if not isinstance(entry, dict) or entry.keys() != {"session_id", "first_index"}:
        raise ValueError("a coverage element has other members than it should")
    session_id, first_index = entry["session_id"], entry["first_index"]
    if not is_identifier(session_id):
        raise ValueError("a coverage element's session_id is not an identifier")
    if type(first_index) is not int or not 0 <= first_index <= _LAST_INDEX:
        raise ValueError("a coverage element's first_index is not a message index")
    return {session_id}


def covers(coverage: str, slot: Hashable) -> bool:
    """Whether a coverage names a slot, found in its canonical text: within a string no quotation mark is bare there,
    so that what is looked for stands where an element does, and nowhere else."""
    if not isinstance(slot, str):
        return False
    return _UNKNOWN_TEXT in coverage or f',"session_id":{encode_basestring(slot)}}}' in coverage
