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
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from migrator.campaign import Campaign
from migrator.core.encoding import b64url_decode
from migrator.core.errors import UsageError
from migrator.core.export import MANIFEST_NAME, MANIFEST_TYP, Manifest, claimed_id, parse_manifest
from migrator.core.imports import ImportResult, RefusedFile
from migrator.core.limits import LIMITS
from migrator.core.model import Conversation
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.signatures import SignedToken, check_signer, read_token
from migrator.database.bulk import chunks
from migrator.exports import recording
from migrator.exports.archive import ArchiveReader
from migrator.exports.recording import Attempt

SUFFIX: Final = ".export.tar"


def import_paths(campaign: Campaign, paths: Sequence[Path]) -> ImportResult:
    """Import archives (`*.export.tar`) and folders of them, in order of their names.

    `UsageError` for a path that is no archive by its name or can't be read; what was imported before it stays.
    """
    recorded = already = 0
    refused: list[RefusedFile] = []
    for path in _archives(paths):
        attempt = Attempt()
        try:
            if _import_archive(campaign, path, attempt):
                recorded += 1
            else:
                already += 1
        except Refused as refusal:
            recording.record_refusal(campaign, attempt, refusal.reason)
            refused.append(RefusedFile(file=str(path), line=None, record_id=attempt.export_id, reason=refusal.reason))
        except OSError as error:
            raise _unreadable(path, error) from None
    campaign.audit.flush()
    return ImportResult(recorded=recorded, already=already, refused=tuple(refused))


# --- files ---


def _archives(paths: Sequence[Path]) -> Iterator[Path]:
    """The archives that the paths name; every given path is looked at before the first is imported."""
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise _unreadable(path, error) from None
        if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and path.name.endswith(SUFFIX)):
            raise UsageError(f"{path} is neither a folder nor a file named *{SUFFIX}")
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path)
        else:
            yield path


def _in_folder(folder: Path) -> Iterator[Path]:
    """Regular files only: a link inside a folder of hand-ins could lead anywhere."""
    for root, folders, names in os.walk(folder, onerror=_fail):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if name.endswith(SUFFIX) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _fail(error: OSError) -> None:
    raise _unreadable(Path(str(error.filename)), error)


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} can't be read: {error.strerror or type(error).__name__}",
        hint="import it again once it can be: what was recorded is passed over then",
        changed="archives before it were imported; nothing of it was",
    )


# --- one archive ---


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
        return recording.record(campaign, token, manifest, archive, now)


def _manifest_text(archive: ArchiveReader) -> str:
    data = archive.member(MANIFEST_NAME, max_bytes=LIMITS.manifest_bytes)
    try:
        return data.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Refused(RefusalReason.MALFORMED, "the manifest is not a compact JWS") from None


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
            if conversation is None or not _is_own(conversation, manifest.account_id):
                raise Refused(RefusalReason.FOREIGN_CONVERSATION)


def _is_own(conversation: Conversation, account_id: str) -> bool:
    if conversation.owner_id is not None:
        return conversation.owner_id == account_id
    return account_id in conversation.participants
