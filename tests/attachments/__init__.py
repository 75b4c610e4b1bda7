"""Tests of attachments in server history; `lab/` holds media of a real Synapse, from clients of its users."""
