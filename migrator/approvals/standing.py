"""Which approvals of a plan count now, and the gate that production's execution passes.

An approval counts while it is not revoked, its signature is right, and the file of allowed signers lets its key sign
at this moment: an operator who leaves is taken out of the file, and what they approved no longer counts. Two count as
two when neither name nor key of one is also the other's. Signatures are checked again each time: a row that somebody
wrote into the database by hand approves nothing.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from migrator.approvals.signing import NAMESPACE
from migrator.campaign import Campaign, CampaignSpec
from migrator.core import allowed_signers, sshsig
from migrator.core.allowed_signers import AllowedSigner, AllowedSignersError
from migrator.core.errors import ConfigError, GateError
from migrator.core.sshsig import SshSignature, SshSignatureError
from migrator.database import tables

REQUIRED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An approval as it counts now: empty `objection` if it does, else why it does not."""

    name: str
    fingerprint: str
    approved_at: str
    objection: str
    signer: AllowedSigner | None
    """Who it is by the file; None where there is an objection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a plan rests on: a rehearsal's run, or the reason why there was none."""

    run_id: str | None
    waiver: str | None
    recorded_by: str


def allowed(spec: CampaignSpec) -> list[AllowedSigner]:
    """Who may approve; `ConfigError` where the file is missing or can't be read as it is meant."""
    path = spec.directory / spec.settings.approval.allowed_signers
    try:
        return allowed_signers.parse(_read(path))
    except OSError as error:
        raise ConfigError(
            f"approval.allowed_signers: {path} can't be read: {error.strerror}",
            hint="list the operators who may approve, in OpenSSH's allowed signers format",
        ) from None
    except (AllowedSignersError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(
            f"approval.allowed_signers: {path}: {reason}", hint="ssh-keygen(1) has the format, under ALLOWED SIGNERS"
        ) from None


def signer_of(signature: SshSignature, signers: Sequence[AllowedSigner], at: datetime) -> AllowedSigner:
    """The person whose key it is; `SshSignatureError` where the key is nobody's, or may not sign at that time."""
    lines = [signer for signer in signers if signer.public_key == signature.public_key]
    if not lines:
        raise SshSignatureError("the key is none of an allowed signer")
    for line in lines:
        if line.may_sign(NAMESPACE, at):
            return line
    raise SshSignatureError(f"the key of {lines[0].name} is not allowed to sign for {NAMESPACE} at this time")


def standing(connection: sa.Connection, campaign: Campaign, plan_id: str, digest: str) -> list[Standing]:
    """Every approval of a plan that was not revoked, in order, as it counts now."""
    table = tables.approval
    rows = connection.execute(
        sa.select(table).where(table.c.plan_id == plan_id, table.c.revoked_at.is_(None)).order_by(table.c.approval_no)
    ).all()
    signers = allowed(campaign.spec) if rows else []
    return [_judge(row, signers, digest, campaign.clock.now()) for row in rows]


def rehearsal(connection: sa.Connection, plan_id: str) -> Rehearsal | None:
    """What was recorded of a plan's rehearsal."""
    table = tables.rehearsal
    row = connection.execute(sa.select(table).where(table.c.plan_id == plan_id)).one_or_none()
    if row is None:
        return None
    return Rehearsal(run_id=row.run_id, waiver=row.waiver, recorded_by=row.recorded_by)


def require_approved(connection: sa.Connection, campaign: Campaign, plan_id: str, digest: str) -> None:
    """Raise `GateError` unless the plan was rehearsed, or that waived, and two operators approve it; in production."""
    if not campaign.in_production:
        return
    found = standing(connection, campaign, plan_id, digest)
    counting = [approval.signer for approval in found if approval.signer is not None]
    if any(different(one, other) for one in counting for other in counting):
        if rehearsal(connection, plan_id) is None:
            raise GateError(
                f"{plan_id} was neither rehearsed in staging nor is that waived",
                hint=f"`migrator approve {plan_id}` with --rehearsal or --waive-rehearsal records it",
            )
        return
    objections = "".join(f"; {a.name}'s does not count: {a.objection}" for a in found if a.objection)
    raise GateError(
        f"in production a plan needs the approvals of {REQUIRED} different operators; "
        f"{plan_id} has {'one' if counting else 'none'}{objections}",
        hint=f"`migrator approve {plan_id} --key SSH_KEY`, each operator with a key of their own",
    )


def different(one: AllowedSigner, other: AllowedSigner) -> bool:
    """Whether they are two persons: neither key nor any name in common."""
    return one.public_key != other.public_key and not one.principals & other.principals


def _judge(row: sa.Row[tuple[object, ...]], signers: Sequence[AllowedSigner], digest: str, at: datetime) -> Standing:
    signer, objection = None, ""
    try:
        signature = SshSignature.parse(row.signature.encode())
        signature.require_valid(digest.encode(), NAMESPACE)
        signer = signer_of(signature, signers, at)
    except SshSignatureError as error:
        objection = str(error)
    return Standing(
        name=row.signer if signer is None else signer.name,
        fingerprint=row.fingerprint if signer is None else sshsig.fingerprint(signer.public_key),
        approved_at=row.approved_at,
        objection=objection,
        signer=signer,
    )


def _read(path: Path) -> str:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise AllowedSignersError(f"others than its owner can write it; `chmod go-w {path}`")
        data = file.read(allowed_signers.MAX_BYTES + 1)
    if len(data) > allowed_signers.MAX_BYTES:
        raise AllowedSignersError("too large for a list of operators")
    return data.decode("utf-8")
