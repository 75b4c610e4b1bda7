"""Attachments of server history: their rows, their opening, and the removal of blobs that no row shows."""

from migrator.attachments.stored import StoredAttachment, attachments_at, open_attachment

__all__ = ["StoredAttachment", "attachments_at", "open_attachment"]
