"""Why a message stayed sealed, in words for those who read an archive."""

from typing import Final

from migrator.core.outcomes import GapReason

GAP_WORDS: Final[dict[str, str]] = {
    GapReason.NO_KEY: "nobody handed in a key for it",
    GapReason.CORRUPT: "it does not open with the keys that are there, or what it holds is not a message of this room",
    GapReason.UNSUPPORTED_VERSION: "it was encrypted in a way that cannot be opened",
    GapReason.KEY_GAP_BEFORE_INDEX: "the keys that were handed in begin after it",
    GapReason.MALFORMED: "it is not an encrypted message",
    GapReason.REDACTED: "it was redacted, and not opened",
    GapReason.REPLAY: "it repeats another message under the same key",
    GapReason.UNVERIFIED_SENDER: "its key is not known to be a device of its sender's",
}
