"""The port to blobs: attachments as the source keeps them, and sealed ones as migrator does."""
