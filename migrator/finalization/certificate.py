"""What a finalisation certifies: a JSON document, and the same as a note signed with the audit log's key.

The note is a C2SP signed note whose text is the document on one line, so whoever has `log.vkey` checks it with the
tools that check checkpoints. It names the log's size and root at that time: the `source.retired` event is below it.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from migrator import __version__
from migrator.audit import signing_key
from migrator.audit.published import PublishedLog
from migrator.audit.signing import LogSigner
from migrator.campaign import Campaign
from migrator.core.encoding import canonical_json
from migrator.core.errors import UsageError
from migrator.finalization.state import Progressed
from migrator.private_files import replace_private

SCHEMA: Final = "migrator.finalization_certificate/1"


def issue(campaign: Campaign, row: Progressed) -> Path:
    """Write `finalization/<id>.json` and `.note` beside the configuration; the same again where they are lost."""
    published = PublishedLog(campaign.audit.path.parent, origin=campaign.settings.origin)
    checkpoint = published.checkpoint
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "campaign": campaign.name,
        "environment": campaign.settings.campaign.environment.value,
        "tool_version": __version__,
        "finalization_id": row.finalization_id,
        "run_id": row.run_id,
        "what": row.what.value,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        **row.counts,
        "log": {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
    }
    signer = LogSigner(
        campaign.settings.origin,
        partial(signing_key.load, campaign.settings.audit.signing_key, campaign.spec.directory),
    )
    note = signer.sign(canonical_json(document).decode() + "\n")
    path = campaign.spec.directory / "finalization" / f"{row.finalization_id}.json"
    try:
        replace_private(path.with_suffix(".note"), note)
        replace_private(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise UsageError(
            f"the certificate {path} can't be written: {error.strerror}",
            hint="the finalisation itself is complete; `migrator finalize` writes its certificate again",
        ) from None
    return path
