"""Makes the archive of one conversation: an audit event, one walk (two for pages), one transaction's view of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from migrator import __version__, plugins, reading
from migrator.archiving import matrix_json, mbox
from migrator.archiving.attached import StoredAttachments
from migrator.archiving.folder import Folder, new_file, new_folder, require_new
from migrator.archiving.html import pages, sanitising
from migrator.archiving.interface import About, AttachmentOpener, Form, History
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import SourceError, UsageError
from migrator.stores.rooms import KnowsRooms

_MATRIX: Final = "megolm"
"""The scheme whose contents are Matrix events."""
_FILES: Final = {
    Form.MATRIX_JSON: ("events.json", matrix_json.SUFFIX),
    Form.MBOX: ("messages.mbox", mbox.SUFFIX),
}
"""Name of the main file in a folder, and the suffix by which a path is a file and not a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive that was saved. `files`: how many a folder holds beside its manifest; 1 for a single file."""

    conversation_id: str
    form: Form
    path: Path
    messages: int
    gaps: int
    clear_text: int | None
    files: int


def save(campaign: Campaign, conversation_id: str, reason: str, form: Form, path: Path) -> Archive:
    """Write the archive of a conversation into a new folder, or a new file where the path ends in the form's suffix.

    Raises as `reading.read`; `UsageError` where it can't be written, and then nothing of it is left.
    """
    single = form is not Form.HTML and path.suffix == _FILES[form][1] and not path.is_dir()
    with _explained(path):
        require_new(path, single=single)
    with _opened(campaign, conversation_id, reason, form) as (history, about), _explained(path):
        attachments = StoredAttachments(history)
        if single:
            new_file(path, _pieces(form, history, about, attachments, None))
            files = 1
        else:
            with new_folder(path, form, about) as folder:
                _fill(folder, form, history, about, attachments)
                files = folder.count()
    return Archive(
        conversation_id=conversation_id,
        form=form,
        path=path,
        messages=about.messages,
        gaps=about.gaps,
        clear_text=about.clear_text,
        files=files,
    )


def stream(campaign: Campaign, conversation_id: str, reason: str, form: Form) -> Iterator[bytes]:
    """The archive as one stream, for standard output; it is whole only where nothing was raised at its end."""
    if form is Form.HTML:
        raise UsageError("pages are files", hint="say where with --save DIR")
    with _opened(campaign, conversation_id, reason, form) as (history, about):
        yield from _pieces(form, history, about, StoredAttachments(history), None)


def clear_text(campaign: Campaign, conversation_id: str) -> int | None:
    """How many events of a room were never encrypted; None where the source can't be asked."""
    try:
        store = campaign.store
        return store.clear_text([conversation_id]).get(conversation_id, 0) if isinstance(store, KnowsRooms) else 0
    except SourceError:
        return None


def _relations(campaign: Campaign, conversation_id: str) -> reading.Relations | None:
    """What messages say beside their ciphertext; None where the source knows no such thing, or can't be asked."""
    try:
        store = campaign.store
        if not isinstance(store, KnowsRooms):
            return None
        store.relations(conversation_id, [])
    except SourceError:
        return None
    return partial(store.relations, conversation_id)


@contextmanager
def _opened(
    campaign: Campaign, conversation_id: str, reason: str, form: Form
) -> Iterator[tuple[reading.History, About]]:
    """The history, once what the format needs is known to be there."""
    matrix = plugins.store_class(campaign.settings.source.kind).scheme == _MATRIX
    if form is Form.MATRIX_JSON and not matrix:
        raise UsageError(
            "matrix-json is for Matrix rooms, and this campaign's source has none",
            hint="--format html or mbox takes any history",
        )
    if form is Form.HTML and matrix:
        sanitising.require()
    relations = _relations(campaign, conversation_id)
    with reading.opened(campaign, conversation_id, reason, form.value, relations) as history:
        yield (
            history,
            About(
                campaign=campaign.name,
                conversation_id=conversation_id,
                created_at=format_time(campaign.clock.now()),
                tool_version=__version__,
                messages=history.messages,
                gaps=history.gaps,
                members=_members(campaign, conversation_id),
                clear_text=clear_text(campaign, conversation_id),
            ),
        )


def _members(campaign: Campaign, conversation_id: str) -> tuple[str, ...] | None:
    try:
        found = campaign.store.conversations([conversation_id]).get(conversation_id)
    except SourceError:
        return None
    return None if found is None else found.participants


def _fill(folder: Folder, form: Form, history: History, about: About, attachments: AttachmentOpener) -> None:
    if form is Form.HTML:
        scratch = folder.path / ".index.sqlite"
        try:
            pages.write(history, about, attachments, folder, scratch)
        finally:
            scratch.unlink(missing_ok=True)
    else:
        folder.save(_FILES[form][0], _pieces(form, history, about, attachments, folder), {})


def _pieces(
    form: Form, history: History, about: About, attachments: AttachmentOpener, files: Folder | None
) -> Iterator[bytes]:
    match form:
        case Form.MATRIX_JSON:
            return matrix_json.pieces(history, about, attachments, files)
        case Form.MBOX:
            return mbox.pieces(history, about, attachments)
        case Form.HTML:
            raise AssertionError("pages are no stream")
        case _:
            assert_never(form)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, sqlite3.DatabaseError) as error:  # a NUL in a path; SQLite's, of the ids beside pages
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"the archive can't be written to {path}: {reason}",
            hint="check free space and permissions, or name another place with --save",
            changed="nothing of the archive was left; that it was read stands in the audit log",
        ) from None
