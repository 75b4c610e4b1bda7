"""Making a campaign final: the source's ciphertext of what was migrated goes, and so do exports and recipient keys.

`gates` says when it may begin, `retiring` and `shredding` delete from the source, `finalizing` leads through it and
ends with a `certificate`. What is under a legal hold stays, and the certificate counts it.
"""

from migrator.finalization.finalizing import Finalized, finalize
from migrator.finalization.preview import Preview, preview

__all__ = ["Finalized", "Preview", "finalize", "preview"]
