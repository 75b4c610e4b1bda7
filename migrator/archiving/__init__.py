"""Archives of migrated history, for those who have to read it without migrator: one conversation in one format.

`saving` opens the history and writes; `matrix_json`, `mbox` and `html/` each make bytes of it and know nothing of
databases. What they are made from stands in `interface`.
"""

from migrator.archiving.interface import Form
from migrator.archiving.saving import Archive, clear_text, save, stream

__all__ = ["Archive", "Form", "clear_text", "save", "stream"]
