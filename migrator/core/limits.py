"""Every limit on what comes from outside, in one place."""

from dataclasses import dataclass
from datetime import timedelta

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Formats, sections 3 and 4; a test may lower one, an operator can't."""

    authorization_chars: int = 64 * KIB
    """Compact text of one authorisation record."""
    manifest_bytes: int = 16 * MIB
    """Compact text of an export's manifest."""
    manifest_conversations: int = 100_000
    manifest_parts: int = 10_000
    part_bytes: int = 8 * MIB
    """One sealed part."""
    key_line_bytes: int = 64 * KIB
    history_line_bytes: int = 4 * MIB
    json_depth: int = 16
    clock_skew: timedelta = timedelta(minutes=5)
    """How far in the future a record may have been decided."""
    identifier_bytes: int = 1024
    """Longest identifier in a record or manifest, UTF-8."""
    pbkdf2_rounds: int = 1_000_000
    """Most rounds that a passphrase may ask for: files say how many, and somebody else may have written them."""
    passphrase_bytes: int = 4 * KIB
    """Longest passphrase of a key export or of secret storage, UTF-8."""


LIMITS = Limits()
