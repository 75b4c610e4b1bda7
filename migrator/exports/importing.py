"""Import of client exports: checked against their signed manifest, stored sealed as they are, never opened.

An archive is one transaction with its event: recorded whole, or not at all. The checks, in this order:

1. The manifest's size and form; a repeat of a recorded manifest is `already`, whatever became of its device since.
2. `unknown_account`, then the signer and its times, `wrong_campaign`, `wrong_recipient_key`, `future`.
3. `duplicate_export`, `foreign_conversation`.
4. The parts, as they stream by into the transaction: names, sizes, digests, the end of the archive.

Numbers of exports are given out under the lock of the campaign's row, so that they stand in the order of commits: what
a plan calls "up to export 17" can't get a late 16.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from migrator.campaign import Campaign
from migrator.core.encoding import b64url_decode
from migrator.core.errors import MigratorError, UsageError
from migrator.core.export import MANIFEST_NAME, MANIFEST_TYP, Manifest, claimed_id, parse_manifest, part_name
from migrator.core.imports import ImportResult, RefusedFile
from migrator.core.limits import LIMITS
from migrator.core.model import Conversation
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.progress import NoProgress, Progress
from migrator.core.signatures import SignedToken, check_signer, read_token
from migrator.database.bulk import chunks
from migrator.exports import recording
from migrator.exports.archive import ArchiveReader
from migrator.exports.recording import Attempt, Voucher
from migrator.handed_in import files, unreadable

SUFFIX: Final = ".export.tar"
KEPT: Final = "exports before it are imported; importing the same files again goes on from there"
_NOBODY: Final = NoProgress()


@dataclass(slots=True)
class Tally:
    """What came of an import so far."""

    recorded: int = 0
    already: int = 0
    refused: list[RefusedFile] = field(default_factory=list)

    def result(self) -> ImportResult:
        """What the caller gets."""
        return ImportResult(recorded=self.recorded, already=self.already, refused=tuple(self.refused))


def import_paths(campaign: Campaign, paths: Sequence[Path], *, progress: Progress = _NOBODY) -> ImportResult:
    """Import archives (`*.export.tar`) and folders of them; a repeat finds everything `already` there.

    Raises `UsageError` for paths that make no sense, and what store and database raise; archives before that are kept.
    """
    if not paths:
        raise UsageError("nothing to import", hint=f"give *{SUFFIX} files or folders of these; or keys with --account")
    found = files(paths, (SUFFIX,), what="exports", hint=f"give *{SUFFIX} files or folders of these")
    tally = Tally()
    progress.phase("exports", total=None, unit="archives")
    try:
        for path in found:
            _import_one(campaign, path, tally)
            progress.advance(1)
    except MigratorError as error:
        if tally.recorded:
            error.changed = KEPT
        raise
    finally:
        campaign.audit.flush()
    return tally.result()


def _import_one(campaign: Campaign, path: Path, tally: Tally) -> None:
    attempt = Attempt()
    try:
        if _import_archive(campaign, path, attempt):
            tally.recorded += 1
        else:
            tally.already += 1
    except Refused as refused:
        recording.record_refusal(campaign, attempt, refused.reason)
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        tally.refused.append(RefusedFile(file=name, line=None, record_id=attempt.export_id, reason=refused.reason))
    except OSError as error:
        raise unreadable(path, error) from None


def _import_archive(campaign: Campaign, path: Path, attempt: Attempt) -> bool:
    """Record one archive; False if it was there already. `Refused`, and `OSError` of the file."""
    now = campaign.clock.now()
    with path.open("rb") as file:
        archive = ArchiveReader(file)
        text = _manifest_text(archive)
        attempt.manifest_sha256 = hashlib.sha256(text.encode()).hexdigest()
        attempt.export_id = claimed_id(text)
        token = read_token(text, typ=MANIFEST_TYP, max_chars=LIMITS.manifest_bytes)
        scheme = campaign.scheme
        manifest = parse_manifest(token.payload, kid=token.kid, scheme=scheme.name, read_coverage=scheme.read_coverage)
        with campaign.database.read() as connection:
            before = recording.recorded_sha256(connection, manifest.export_id)
            recipient_key_usable = recording.recipient_key_usable(connection, manifest.recipient_key_id)
        if before == attempt.manifest_sha256:
            return False
        _check_signer(campaign, token, manifest, now)
        attempt.account_id = manifest.account_id
        _check_campaign(campaign, manifest, now, recipient_key_usable=recipient_key_usable)
        if before is not None:
            raise Refused(RefusalReason.DUPLICATE_EXPORT)
        _check_ownership(campaign, manifest)
        voucher = Voucher(text=token.text, issuer=token.issuer)
        return recording.record(campaign, voucher, manifest, _parts(archive, manifest), now)


def _manifest_text(archive: ArchiveReader) -> str:
    data = archive.member(MANIFEST_NAME, max_bytes=LIMITS.manifest_bytes)
    try:
        return data.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Refused(RefusalReason.MALFORMED, "the manifest is not a compact JWS") from None


def _parts(archive: ArchiveReader, manifest: Manifest) -> Iterator[bytes]:
    """The sealed parts as they stream by, each held against the manifest, and nothing behind the last."""
    names = [part_name(part_no) for part_no in range(len(manifest.parts))]
    expected = frozenset(names)
    for name, part in zip(names, manifest.parts, strict=True):
        sealed = archive.member(name, max_bytes=LIMITS.part_bytes, later=expected)
        if len(sealed) != part.size or hashlib.sha256(sealed).hexdigest() != part.sha256:
            raise Refused(RefusalReason.DIGEST_MISMATCH, name)
        yield sealed
    archive.end()


def _check_signer(campaign: Campaign, token: SignedToken, manifest: Manifest, now: datetime) -> None:
    if manifest.account_id not in campaign.store.accounts([manifest.account_id]):
        raise Refused(RefusalReason.UNKNOWN_ACCOUNT)
    issuers = campaign.settings.authorization.issuers
    device = campaign.store.devices([token.kid]).get(token.kid) if token.issuer is None else None
    check_signer(
        token,
        account_id=manifest.account_id,
        device=device,
        issuers={name: b64url_decode(key) for name, key in issuers.items()},
        made_at=manifest.created_at,
        now=now,
    )


def _check_campaign(campaign: Campaign, manifest: Manifest, now: datetime, *, recipient_key_usable: bool) -> None:
    if manifest.campaign != campaign.name:
        raise Refused(RefusalReason.WRONG_CAMPAIGN)
    if not recipient_key_usable:
        raise Refused(RefusalReason.WRONG_RECIPIENT_KEY)
    if manifest.created_at - now > LIMITS.clock_skew:
        raise Refused(RefusalReason.FUTURE)


def _check_ownership(campaign: Campaign, manifest: Manifest) -> None:
    """Every conversation must be the account's own: owned by it, or for a shared room with it as a member."""
    for chunk in chunks([c.conversation_id for c in manifest.conversations]):
        found = campaign.store.conversations(chunk)
        for conversation_id in chunk:
            conversation = found.get(conversation_id)
            if conversation is None or not is_own(conversation, manifest.account_id):
                raise Refused(RefusalReason.FOREIGN_CONVERSATION)


def is_own(conversation: Conversation, account_id: str) -> bool:
    """Whether a conversation is an account's own: it owns it, or is a member where nobody does."""
    if conversation.owner_id is not None:
        return conversation.owner_id == account_id
    return account_id in conversation.participants
