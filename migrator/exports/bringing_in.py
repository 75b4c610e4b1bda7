"""Keys that an operator brings in for an account whose client can't export: sealed unopened, recorded as brought in.

Two things come in this way (formats, section 3): a standard Matrix key export file with its passphrase, and what leads
to the account's server-side key backup, a recovery key or the passphrase of secret storage. Neither is opened here:
both go sealed to the campaign's recipient key into an export of that account, and what they hold shows when needed.

1. No device signed such an export. Its manifest is an unsecured JWS (RFC 7515, appendix A.5), which the import of
   archives never takes; row, event and counts say who brought it in.
2. It lists every conversation that is the account's own at this moment, and covers an unknown part of each.
3. Its id is a keyed digest of account, content and secret: the same again is `already`, and a file whose passphrase was
   mistyped comes in once more with the right one. Only who has the campaign's reference key can compute it, so it
   gives nobody a way to try passphrases.
4. A file is looked at for its form only. What is too large, no key export, or asks for too many rounds, is refused,
   and so is an account that the source doesn't know. Refusals are results.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from migrator import recipient_key
from migrator.campaign import Campaign
from migrator.client.sealing import Recipient
from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.errors import MigratorError, UsageError
from migrator.core.export import MANIFEST_TYP, SCHEMA, ExportKind, ListedConversation, ListedPart, Manifest, part_info
from migrator.core.imports import ImportResult, RefusedFile
from migrator.core.limits import LIMITS
from migrator.core.megolm_export import TooManyRoundsError, read_key_export
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.secret import Secret
from migrator.exports import recording
from migrator.exports.importing import KEPT, Tally, is_own
from migrator.exports.recording import Attempt, Voucher
from migrator.handed_in import files, unreadable
from migrator.schemes.megolm_coverage import UNKNOWN

SCHEME: Final = "megolm"
SUFFIX: Final = ".txt"
BACKUP: Final = "(server-side key backup)"
"""What a result calls the backup, where it names files."""

_PURPOSE: Final = "brought-in-export"
_SPLIT: Final = "the account's client can export its sessions in parts, as `migrator.client` does"


def bring_in(
    campaign: Campaign,
    paths: Sequence[Path],
    *,
    account_id: str | None,
    passphrase: Secret | None,
    recovery_key: Secret | None,
) -> ImportResult:
    """Files with their passphrase; or without a file, what opens the backup. `UsageError` for anything else."""
    if account_id is None:
        raise UsageError("keys are brought in for an account", hint="give --account USER")
    if passphrase is not None and recovery_key is None and paths:
        return bring_in_files(campaign, paths, account_id=account_id, passphrase=passphrase)
    if not paths and (passphrase is None) != (recovery_key is None):
        return bring_in_backup(campaign, account_id=account_id, recovery_key=recovery_key, passphrase=passphrase)
    raise UsageError(
        "that does not say what to bring in",
        hint="key export files with their --passphrase; or no file, and --recovery-key or --passphrase for the backup",
    )


def bring_in_files(campaign: Campaign, paths: Sequence[Path], *, account_id: str, passphrase: Secret) -> ImportResult:
    """Seal key export files of one account with their passphrase; a repeat finds them `already` there.

    Raises `UsageError` for paths or a passphrase that make no sense, and what store and database raise; files before
    that are kept.
    """
    words = _text(passphrase, "passphrase")
    _require_scheme(campaign)
    found = files(paths, (SUFFIX,), what="key exports", hint=f"give *{SUFFIX} files that a client exported, or folders")
    bringing = _Bringing(campaign, account_id)
    tally = Tally()
    try:
        for path in found:
            name = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            try:
                bringing.one(tally, name, _file_line(path, words))
            except Refused as refused:
                bringing.refuse(tally, name, refused)
            except OSError as error:
                raise unreadable(path, error) from None
    except MigratorError as error:
        if tally.recorded:
            error.changed = KEPT
        raise
    finally:
        campaign.audit.flush()
    return tally.result()


def bring_in_backup(
    campaign: Campaign, *, account_id: str, recovery_key: Secret | None = None, passphrase: Secret | None = None
) -> ImportResult:
    """Seal what opens an account's server-side backup: its recovery key, or the passphrase of its secret storage."""
    _require_scheme(campaign)
    if recovery_key is not None:
        line = {"backup_recovery_key": _text(recovery_key, "recovery key")}
    elif passphrase is not None:
        line = {"secret_storage_passphrase": _text(passphrase, "passphrase")}
    else:
        raise UsageError("a key backup is opened by something", hint="give --recovery-key or --passphrase")
    bringing = _Bringing(campaign, account_id)
    tally = Tally()
    try:
        try:
            bringing.one(tally, BACKUP, line)
        except Refused as refused:
            bringing.refuse(tally, BACKUP, refused)
    finally:
        campaign.audit.flush()
    return tally.result()


class _Bringing:
    """Brings things in for one account."""

    def __init__(self, campaign: Campaign, account_id: str) -> None:
        self._campaign = campaign
        self._account_id = account_id
        self._is_known = account_id in campaign.store.accounts([account_id])
        self._listed: tuple[ListedConversation, ...] | None = None
        with campaign.database.read() as connection:
            key = recipient_key.current(connection)
        self._recipient = Recipient(recipient_key_id=key.recipient_key_id, kem=key.kem, public_key=key.public_key)

    def one(self, tally: Tally, name: str, line: Mapping[str, str]) -> None:  # noqa: ARG002 - of refusals alone
        """Record one line as an export; `Refused` where it isn't taken."""
        if not self._is_known:
            raise Refused(RefusalReason.UNKNOWN_ACCOUNT)
        campaign = self._campaign
        plaintext = canonical_json(line) + b"\n"
        if len(plaintext) + self._recipient.overhead > LIMITS.part_bytes:
            raise Refused(RefusalReason.TOO_LARGE, _SPLIT)
        export_id = self._export_id(plaintext)
        with campaign.database.read() as connection:
            before = recording.recorded_sha256(connection, export_id)
        if before is not None:
            tally.already += 1
            return
        sealed = self._recipient.seal(plaintext, part_info(export_id, 0))
        now = campaign.clock.now()
        manifest = self._manifest(export_id, sealed, now)
        voucher = Voucher(text=unsecured(manifest), brought_in_by=campaign.actor)
        if len(voucher.text) > LIMITS.manifest_bytes:
            raise Refused(RefusalReason.TOO_LARGE)
        if recording.record(campaign, voucher, manifest, iter([sealed]), now):
            tally.recorded += 1
        else:
            tally.already += 1

    def refuse(self, tally: Tally, name: str, refused: Refused) -> None:
        """Report a refusal, and write its event."""
        attempt = Attempt(account_id=self._account_id if self._is_known else None)
        recording.record_refusal(self._campaign, attempt, refused.reason)
        hint = _SPLIT if refused.detail == _SPLIT else None
        tally.refused.append(RefusedFile(file=name, line=None, record_id=None, reason=refused.reason, hint=hint))

    def _export_id(self, plaintext: bytes) -> str:
        what = self._account_id.encode() + b"\0" + hashlib.sha256(plaintext).digest()
        return str(UUID(bytes=self._campaign.references.digest(_PURPOSE, what)[:16]))

    def _manifest(self, export_id: str, sealed: bytes, now: datetime) -> Manifest:
        if self._listed is None:
            self._listed = tuple(self._own())
        return Manifest(
            export_id=export_id,
            campaign=self._campaign.name,
            account_id=self._account_id,
            device_id=None,
            kind=ExportKind.KEYS,
            scheme=SCHEME,
            created_at=now,
            recipient_key_id=self._recipient.recipient_key_id,
            conversations=self._listed,
            parts=(ListedPart(sha256=hashlib.sha256(sealed).hexdigest(), size=len(sealed)),),
        )

    def _own(self) -> Iterator[ListedConversation]:
        """The account's conversations, by a walk through the source: nothing leads from an account to them."""
        count = 0
        for page in self._campaign.store.population():
            for conversation in page:
                if not conversation.fault and is_own(conversation, self._account_id):
                    count += 1
                    if count > LIMITS.manifest_conversations:
                        raise Refused(RefusalReason.TOO_LARGE)
                    yield ListedConversation(
                        conversation_id=conversation.conversation_id, coverage=(UNKNOWN,), messages=0, omissions={}
                    )


def unsecured(manifest: Manifest) -> str:
    """A manifest that nobody signed, as an unsecured JWS: a signed one's three parts, the last of them empty."""
    header = canonical_json({"alg": "none", "typ": MANIFEST_TYP})
    payload = canonical_json(
        {
            "schema": SCHEMA,
            "export_id": manifest.export_id,
            "campaign": manifest.campaign,
            "account_id": manifest.account_id,
            "kind": manifest.kind.value,
            "scheme": manifest.scheme,
            "created_at": format_time(manifest.created_at),
            "recipient_key_id": manifest.recipient_key_id,
            "conversations": [
                {"id": c.conversation_id, "coverage": list(c.coverage), "messages": c.messages, "omissions": []}
                for c in manifest.conversations
            ],
            "parts": [{"sha256": part.sha256, "size": part.size} for part in manifest.parts],
        }
    )
    return f"{b64url_encode(header)}.{b64url_encode(payload)}."


def _file_line(path: Path, passphrase: str) -> dict[str, str]:
    """The key line of a file, which is looked at for its form only."""
    with path.open("rb") as file:
        data = file.read(LIMITS.part_bytes + 1)
    if len(data) > LIMITS.part_bytes:
        raise Refused(RefusalReason.TOO_LARGE, _SPLIT)
    try:
        text = data.decode("ascii").strip(" \t\r\n")
        read_key_export(text)
    except TooManyRoundsError as error:
        raise Refused(RefusalReason.TOO_LARGE, str(error)) from None
    except ValueError:
        raise Refused(RefusalReason.MALFORMED, "not a Matrix key export") from None
    return {"megolm_key_export": text, "passphrase": passphrase}


def _text(secret: Secret, what: str) -> str:
    value = secret.reveal()
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise UsageError(f"the {what} is not UTF-8", hint="give it as the client asks for it") from None
    if len(value) > LIMITS.passphrase_bytes or "\0" in text:
        raise UsageError(f"the {what} is too long, or has a NUL", hint="give it as the client asks for it")
    return text


def _require_scheme(campaign: Campaign) -> None:
    if campaign.scheme.name != SCHEME:
        raise UsageError(
            f"source kind {campaign.settings.source.kind!r} has no Matrix keys to bring in",
            hint="its clients' exports are *.export.tar archives",
        )
