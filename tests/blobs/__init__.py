"""Tests of the ports to blobs."""
