"""What an approval signs, and how an operator's own key signs it here.

The signed text is the plan's digest as its file has it (`sha256:…`, no newline), in the namespace `migrator-plan`. So
who keeps the key in an agent or on a security key signs elsewhere, with OpenSSH alone:

    jq -j .digest plan.json | ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n migrator-plan > plan.sig
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from migrator.core import sshsig
from migrator.core.errors import UsageError
from migrator.core.sshsig import SshSignatureError
from migrator.private_files import PrivateFileError, read_private

NAMESPACE: Final = "migrator-plan"
_MAX_KEY_BYTES: Final = 64 * 1024


def of_plan(
    digest: str, key_file: Path | None, signature_file: Path | None, ask_passphrase: Callable[[], str] | None
) -> bytes:
    """An armoured signature: made now with a key, or read from a file that was made elsewhere. `UsageError`."""
    if key_file is not None:
        return _sign(digest, key_file, ask_passphrase)
    if signature_file is None:
        raise UsageError("an approval needs a key or a signature", hint="give one of --key and --signature")
    try:
        with signature_file.open("rb") as file:
            return file.read(sshsig.MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the signature {signature_file} can't be read: {error.strerror}",
            hint="name the file that ssh-keygen wrote",
        ) from None


def _sign(digest: str, key_file: Path, ask_passphrase: Callable[[], str] | None) -> bytes:
    """Sign with the private key in a file that nobody else can read; the passphrase is asked for where it needs one."""
    try:
        data = read_private(key_file, max_bytes=_MAX_KEY_BYTES, follow_links=True)
        return sshsig.sign(_load(data, key_file, ask_passphrase), digest.encode(), NAMESPACE)
    except PrivateFileError as error:
        raise UsageError(error.message, hint=error.hint) from None
    except SshSignatureError as error:
        raise UsageError(
            f"{key_file}: {error}",
            hint=f"keys in an agent or on a security key sign with `ssh-keygen -Y sign -n {NAMESPACE}`: "
            "give that with --signature",
        ) from None


def _load(data: bytes, key_file: Path, ask_passphrase: Callable[[], str] | None) -> sshsig.PrivateKey:
    try:
        return sshsig.load_private_key(data, None)
    except sshsig.PassphraseNeededError:
        if ask_passphrase is None:
            raise UsageError(
                f"{key_file} is protected by a passphrase, and nobody is there to type it",
                hint=f"sign with `ssh-keygen -Y sign -n {NAMESPACE}` and give that with --signature",
            ) from None
    return sshsig.load_private_key(data, ask_passphrase().encode())
