"""Takes secrets out of text that people or log collectors will see.

It is the last net, not the first: nothing is meant to hand a secret to a log or a message at all.
"""

import re
from typing import Final

REDACTED: Final = "[redacted]"

_URL_PASSWORD = re.compile(r"(://[^:/?#\s@]*:)(\S+)(?=@)")
_SECRET_PARAMETER = re.compile(
    r"""(?ix)\b(?<!pkcs11:)((?:[a-z]+[_-])?(?:password|passwd|pwd|pin-value|secret|token|api[_-]?key|access[_-]?key
        |signature|sig)["']?\s*[=:]\s*["']?)(?!(?:env|file|command):)([^\s&;,"']+)"""
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KEYSET_VALUE = re.compile(r'("value"\s*:\s*")[A-Za-z0-9+/=_-]{16,}(")')
_BYTES_LITERAL = re.compile(r"""\bb'(?:[^'\\]|\\.)*'|\bb"(?:[^"\\]|\\.)*\"""")
_OPAQUE = r"[A-Za-z0-9+_-]"
_LONG_OPAQUE = re.compile(
    rf"(?<![A-Za-z0-9+/_.-])(?={_OPAQUE}*[0-9])(?={_OPAQUE}*[a-z])(?={_OPAQUE}*[A-Z]){_OPAQUE}{{43,}}={{0,2}}"
)
"""A key of 32 bytes in base64 has 43 digits; hex digests, which logs may show, have no capitals."""


def redact_setting(text: str) -> str:
    """A setting without the password that a URL in it carries; references such as `env:NAME` stay as they are.

    So does the label of a token in a PKCS #11 URI (RFC 7512), which is called `token` there.
    """
    text = _URL_PASSWORD.sub(rf"\1{REDACTED}", text)
    return _SECRET_PARAMETER.sub(rf"\1{REDACTED}", text)


def redact_text(text: str) -> str:
    """Free text without anything that looks like a secret: passwords, private keys, keysets, raw bytes."""
    text = _PEM.sub(REDACTED, text)
    text = _KEYSET_VALUE.sub(rf"\1{REDACTED}\2", text)
    text = _BYTES_LITERAL.sub(REDACTED, text)
    text = _LONG_OPAQUE.sub(REDACTED, text)
    return redact_setting(text)
