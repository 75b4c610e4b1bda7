"""Key lines of the Megolm scheme (formats, section 4), in three forms:

- `{"conversation_id": "<room id>", "sessions": [...]}`: entries as a Matrix key export has them, written by a client of
  ours. One that can't be read makes the part unusable, as with every scheme.
- `{"megolm_key_export": "<file>", "passphrase": "…"}`: a client's own file. What it holds was not written for us: an
  entry that can't be used, of another algorithm say, costs that entry.
- `{"backup_recovery_key": "…"}` or `{"secret_storage_passphrase": "…"}`: the way to the account's server-side backup,
  whose ciphertexts the source has (`megolm_backup`). Its entries are dealt with alike.

A file is as long as a part may be, where it is the only line of the part and in canonical JSON: so it is cut out and
never goes through the parser. Deriving its keys takes seconds: what was derived is kept in memory, for each file once.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from migrator.core.key_backup import BackupOf
from migrator.core.limits import LIMITS
from migrator.core.megolm import read_session
from migrator.core.megolm_export import exported_entries, pbkdf2, read_key_export
from migrator.core.signatures import is_identifier
from migrator.schemes.interface import KeyEntry
from migrator.schemes.megolm_backup import BackupKey, by_passphrase, by_recovery_key
from migrator.schemes.megolm_sessions import encode

MAX_SESSIONS_IN_LINE: Final = 1_000
"""A line has 64 KiB and an entry over 300 bytes: more are none."""
MAX_DERIVED: Final = 4_096
"""Most files whose derived keys are remembered, under 1 MB."""

_WHOLE_PART: Final = re.compile(
    rb'\{"megolm_key_export":"((?:[A-Za-z0-9+/= -]|\\[nrt])*+)","passphrase":("(?:[^"\\\x00-\x1f]|\\.)*+")\}\n?\Z'
)
_ESCAPES: Final = {r"\n": "\n", r"\r": "\r", r"\t": "\t"}


class KeyLines:
    """Reads key lines; remembers derived keys, which changes no result."""

    def __init__(self) -> None:
        self._derived: OrderedDict[bytes, bytes] = OrderedDict()

    def read(self, entry: Mapping[str, object], backup: BackupOf) -> Iterable[KeyEntry]:
        """The sessions of one line; `ValueError` (without content) where it can't be used as a whole."""
        members = entry.keys()
        if members == {"conversation_id", "sessions"}:
            return _sessions(entry["conversation_id"], entry["sessions"])
        if members == {"megolm_key_export", "passphrase"}:
            return self._file(_text(entry["megolm_key_export"]), _passphrase(entry["passphrase"]))
        if members == {"backup_recovery_key"}:
            key = by_recovery_key(_text(entry["backup_recovery_key"]), backup())
        elif members == {"secret_storage_passphrase"}:
            key = by_passphrase(_passphrase(entry["secret_storage_passphrase"]), backup(), self.derive)
        else:
            raise ValueError("a key line has other members than it should")
        return _backed_up(key)

    def read_plain_part(self, part: bytes) -> list[KeyEntry] | None:
        """The sessions of a part that is one file in its plainest form; None: it is none. `ValueError` as above."""
        whole = _WHOLE_PART.match(part)
        if whole is None:
            return None
        text = re.sub(r"\\[nrt]", lambda escape: _ESCAPES[escape.group()], whole[1].decode("ascii"))
        try:
            passphrase: object = json.loads(whole[2])
        except ValueError:
            raise ValueError("a passphrase is not JSON text") from None
        return self._file(text, _passphrase(passphrase))

    def derive(self, passphrase: bytes, salt: bytes, rounds: int, length: int) -> bytes:
        """PBKDF2, computed once for each passphrase, salt and number of rounds while it is remembered."""
        given = b"%d %d %d %s%s" % (length, rounds, len(salt), salt, passphrase)
        name = hashlib.sha256(given).digest()
        known = self._derived.get(name)
        if known is None:
            known = self._derived[name] = pbkdf2(passphrase, salt, rounds, length)
            if len(self._derived) > MAX_DERIVED:
                self._derived.popitem(last=False)
        else:
            self._derived.move_to_end(name)
        return known

    def _file(self, text: str, passphrase: bytes) -> list[KeyEntry]:
        sealed = read_key_export(text)
        opened = sealed.open(self.derive(passphrase, sealed.salt, sealed.rounds, 64))
        return list(_usable(exported_entries(opened)))


def _sessions(room_id: object, sessions: object) -> list[KeyEntry]:
    """The sessions of one of our own lines: each must be right, and of the room if it names one."""
    if not is_identifier(room_id):
        raise ValueError("conversation_id is not an identifier")
    if not isinstance(sessions, list) or len(sessions) > MAX_SESSIONS_IN_LINE:
        raise ValueError("sessions is not a list of a line's length")
    entries = []
    for each in sessions:
        if not isinstance(each, dict) or each.get("room_id", room_id) != room_id:
            raise ValueError("a session is no object, or of another room")
        entries.append(_entry(each, room_id, each.get("session_id")))
    return entries


def _usable(listed: Iterable[object]) -> Iterator[KeyEntry]:
    """The sessions of a key export that are of use."""
    for each in listed:
        if isinstance(each, dict) and is_identifier(each.get("room_id")):
            try:
                yield _entry(each, each["room_id"], each.get("session_id"))
            except ValueError:
                continue


def _backed_up(key: BackupKey) -> Iterator[KeyEntry]:
    for room_id, session_id, session in key.sessions():
        if is_identifier(room_id):
            try:
                yield _entry(session, room_id, session_id)
            except ValueError:
                continue


def _entry(entry: Mapping[str, object], room_id: str, session_id: object) -> KeyEntry:
    session = read_session(entry, session_id)
    return KeyEntry(room_id, session.session_id, encode(session))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a member is not text")  # noqa: TRY004 - one kind of error for one kind of fault
    return value


def _passphrase(value: object) -> bytes:
    passphrase = _text(value).encode()
    if len(passphrase) > LIMITS.passphrase_bytes:
        raise ValueError("a passphrase is too long")
    return passphrase
