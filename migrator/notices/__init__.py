"""Notices to users: templates, sending, evidence."""
