"""Operators with SSH keys, who may approve plans."""

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from migrator.approvals import recording
from migrator.approvals.recording import Approved
from migrator.approvals.signing import NAMESPACE
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core import sshsig
from migrator.planning import stored

ALICE = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1")
BOB = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\2")
CAROL = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\3")
"""Carol is nobody's operator."""
WAIVER = "a test of something else"


def line(name: str, key: sshsig.PrivateKey, options: str = "") -> str:
    """A line of an allowed signers file."""
    blob = sshsig.public_blob(key)
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    return " ".join(part for part in (name, options, kind, base64.b64encode(blob).decode()) if part) + "\n"


def allow(directory: Path, text: str | None = None) -> None:
    """Write the file that says who may approve: Alice and Bob unless said otherwise."""
    found = line("alice@example.org", ALICE) + line("bob@example.org", BOB) if text is None else text
    path = directory / "allowed_signers"
    path.write_text(found, encoding="utf-8")
    path.chmod(0o644)


def key_file(path: Path, key: Ed25519PrivateKey, passphrase: bytes | None = None) -> Path:
    """A private key as ssh-keygen keeps it."""
    locked = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1)
    protection = NoEncryption() if passphrase is None else locked.build(passphrase)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, protection))
    path.chmod(0o600)
    return path


def approve(campaign: Campaign, plan_id: str, key: sshsig.PrivateKey, waiver: str | None = WAIVER) -> Approved:
    """One operator's approval of a plan."""
    plan = stored.load(campaign, plan_id)
    return recording.approve(campaign, plan, sshsig.sign(key, plan.digest.encode(), NAMESPACE), waiver=waiver)


def both_approve(spec: CampaignSpec, plan_id: str) -> None:
    """Alice and Bob approve a plan."""
    allow(spec.directory)
    with open_campaign(spec) as campaign:
        approve(campaign, plan_id, ALICE)
        approve(campaign, plan_id, BOB)
