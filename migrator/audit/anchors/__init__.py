"""Anchors: others who vouch for a checkpoint, so that whoever holds the log's key can't rewrite what it covers.

Witnesses cosign it (c2sp.org/tlog-witness); an authority says when it was there (RFC 3161). Both are off until
configured. What they answer is verified, then kept beside the checkpoint as `<size>.witness` and `<size>.tsr`.
"""
