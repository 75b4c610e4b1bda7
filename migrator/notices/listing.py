"""The accounts that a notice has not reached, as a file for its operator: it names accounts, so it is private."""

import json
import os
import secrets
from pathlib import Path

from migrator.campaign import Campaign
from migrator.core.errors import UsageError
from migrator.notices import status


def write_unreachable(campaign: Campaign, notice_id: str, path: Path) -> int:
    """Write a line of JSON for each account and channel (`account_id`, `channel`, `state`, `detail`); how many.

    Mode 0600, whole or not at all, in bounded memory. Raises `UsageError`.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    count = 0
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file, campaign.database.read() as connection:
            for account_id, channel, state, detail in status.unreachable(connection, notice_id):
                line = {"account_id": account_id, "channel": channel, "state": state, "detail": detail}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{path} can't be written: {reason}", hint="name a place that is yours to write") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count
