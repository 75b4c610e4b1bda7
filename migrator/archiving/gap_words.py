"""Why a message stayed sealed, or an attachment is not there, in words for those who read an archive."""

from typing import Final

from migrator.core.attachments import AttachmentGap
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

ATTACHMENT_GAP_WORDS: Final[dict[str, str]] = {
    AttachmentGap.MISSING: "it was not in the media store",
    AttachmentGap.TRUNCATED: "the end of it was not in the media store",
    AttachmentGap.CORRUPT: "what was in the media store is not what its sender put there",
    AttachmentGap.UNSUPPORTED_VERSION: "it was encrypted in a way that cannot be opened",
    AttachmentGap.MALFORMED: "the message does not say how it opens",
    AttachmentGap.UNSAFE_PATH: "its address is none in the media store",
    AttachmentGap.TOO_LARGE: "it is larger than what was taken over",
}


def in_words(words: dict[str, str], reason: str) -> str:
    """A reason as people read it, with its name; a name that nobody knows is all there is."""
    return f"{words[reason]} ({reason})" if reason in words else reason
