"""Who approved a plan and what that rests on, as it was recorded: a plan that is executed keeps its approvals.

Whether a signature is right is checked anew; whether its key may still sign was asked when the run began, and is no
matter of today.
"""

from typing import Any

import sqlalchemy as sa

from migrator.approvals import standing
from migrator.approvals.signing import NAMESPACE
from migrator.core.sshsig import SshSignature, SshSignatureError
from migrator.database import tables


def approvals_of(connection: sa.Connection, plan_id: str, digest: str) -> dict[str, Any]:
    """The approvals that were not revoked, and the rehearsal or its waiver; nothing of either in staging."""
    table = tables.approval
    rows = connection.execute(
        sa.select(table).where(table.c.plan_id == plan_id, table.c.revoked_at.is_(None)).order_by(table.c.approval_no)
    )
    rehearsal = standing.rehearsal(connection, plan_id)
    return {
        "operators": [
            {
                "signer": row.signer,
                "key": row.fingerprint,
                "approved_at": row.approved_at,
                "signature_ok": _is_right(row.signature, digest),
            }
            for row in rows
        ],
        "rehearsal": None
        if rehearsal is None
        else {"run_id": rehearsal.run_id, "waiver": rehearsal.waiver, "recorded_by": rehearsal.recorded_by},
    }


def _is_right(signature: str, digest: str) -> bool:
    try:
        SshSignature.parse(signature.encode()).require_valid(digest.encode(), NAMESPACE)
    except (SshSignatureError, UnicodeEncodeError):
        return False
    return True
