#!/usr/bin/env python3
"""Checks a bundle of proofs from an audit log, offline: python3 verify.py [--vkey KEY] [--witness KEY]... [FOLDER]

Needs Python 3.9 and the package `cryptography`, nothing else. Exit status 0: everything holds; 1: something does not.

1. The folder has the files that bundle.json lists, with their digests, and no others, no links among them.
2. The log's key (log.vkey, or the one given by --vkey) signed every checkpoint, and every --witness cosigned it.
3. Each leaf is in the tree that its checkpoint signs, at its number (RFC 6962 inclusion).
4. Where a message is asked about: the page that holds it, message by message, makes the leaf of the conversation's
   own tree, whose root stands in one of the leaves of 3.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG_KEY, WITNESS_KEY = 0x01, 0x04  # signature types of c2sp.org/signed-note
LIMIT = 1 << 28  # bytes of a file: a page has 1,000 messages
Key = tuple[str, bytes, Ed25519PublicKey]  # name, key id, public key


class BundleError(Exception):
    """Something does not hold; the text says what."""


def check(holds: object, what: str) -> None:
    """Stop unless it holds."""
    if not holds:
        raise BundleError(what)


def sha256(*parts: bytes) -> bytes:
    """The digest of some bytes one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text: str) -> bytes:
    """Bytes from standard base64, which has one spelling only."""
    data = base64.b64decode(text, validate=True)
    check(base64.b64encode(data).decode() == text, "base64 that is spelled otherwise")
    return data


def parse_key(text: str, kind: int) -> Key:
    """Name, key id and public key out of `name+key id+key` (c2sp.org/signed-note)."""
    name, key_id, encoded = text.removesuffix("\n").split("+", 2)
    typed = unbase64(encoded)
    check(len(typed) == 33 and typed[0] == kind, f"not an Ed25519 key of type {kind}: {name}")
    check(sha256(name.encode(), b"\n", typed)[:4].hex() == key_id, f"the key id of {name} is not its key's")
    return name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(typed[1:])


def open_checkpoint(note: bytes, key: Key, witnesses: list[Key]) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the log and all witnesses have signed (c2sp.org/tlog-checkpoint)."""
    text, blank, lines = note.decode().rpartition("\n\n")
    check(blank, "a checkpoint without signatures")
    text += "\n"
    signatures: dict[tuple[str, bytes], bytes] = {}
    for line in lines.removesuffix("\n").split("\n"):
        dash, name, blob = line.split(" ")
        check(dash == "\u2014", "a signature line that is none")
        signatures.setdefault((name, unbase64(blob)[:4]), unbase64(blob)[4:])
    for name, key_id, public_key in [key, *witnesses]:
        signature = signatures.get((name, key_id), b"")
        check(signature, f"{name} has not signed the checkpoint")
        message = text.encode()
        if (name, key_id) != key[:2]:  # a cosignature covers its time (c2sp.org/tlog-cosignature)
            message = b"cosignature/v1\ntime %d\n" % int.from_bytes(signature[:8], "big") + message
            signature = signature[8:]
        try:
            public_key.verify(signature, message)
        except InvalidSignature:
            raise BundleError(f"the signature of {name} on the checkpoint is not right") from None
    origin, size, root = text.split("\n")[:3]
    check(origin == key[0], f"the checkpoint is of {origin}, the key of {key[0]}")
    check(size.isascii() and size.isdigit(), "the size of the checkpoint is no number")
    return int(size), unbase64(root)


def root_from(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a leaf and its audit path make (RFC 9162, section 2.1.3.2)."""
    check(0 <= index < size, "a leaf that is not in the tree")
    node, last = leaf, size - 1
    for sibling in path:
        check(last > 0 and len(sibling) == 32, "an audit path that is too long")
        if index & 1 or index == last:
            node = sha256(b"\x01", sibling, node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01", node, sibling)
        index, last = index >> 1, last >> 1
    check(last == 0, "an audit path that is too short")
    return node


def read_bundle(folder: Path) -> dict[str, Any]:
    """bundle.json, once every file is what it says."""
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for name, path in there.items():
        check(not path.is_symlink() and (path.is_file() or path.is_dir()), f"{name} is a link, or no file")
        check(path.stat().st_size <= LIMIT, f"{name} is too long")
    data = (folder / "bundle.json").read_bytes()
    bundle: dict[str, Any] = json.loads(data)
    digest = bundle.pop("digest")
    text = json.dumps(bundle, sort_keys=True, separators=(",", ":"))
    whole = json.dumps({**bundle, "digest": digest}, sort_keys=True, indent=1) + "\n"
    check(whole.encode() == data and sha256(text.encode()).hex() == digest, "bundle.json was altered")
    check(bundle["schema"] == "migrator.audit_bundle/1", "a bundle of another version")
    files = {name for name, path in there.items() if path.is_file()}
    odd = sorted(files ^ {*bundle["files"], "bundle.json"})
    check(not odd, f"missing, or not of the bundle: {odd}")
    for name, expected in bundle["files"].items():
        check(sha256(there[name].read_bytes()).hex() == expected, f"{name} was altered")
    return bundle


def check_leaf(folder: Path, entry: dict[str, Any], key: Key, witnesses: list[Key]) -> dict[str, Any]:
    """The leaf as JSON, once it is proved to be in the log."""
    leaf = (folder / entry["leaf"]).read_bytes()
    head, _, note = (folder / entry["proof"]).read_bytes().partition(b"\n\n")
    magic, number, *path = [line for line in head.decode().split("\n") if not line.startswith("extra ")]
    expected = ("c2sp.org/tlog-proof@v1", f"index {entry['seq']}")
    check((magic, number) == expected, f"{entry['proof']} is not a proof of that entry")
    size, root = open_checkpoint(note, key, witnesses)
    proved = root_from(sha256(b"\x00", leaf), entry["seq"], size, [unbase64(line) for line in path])
    check(proved == root, f"entry {entry['seq']} is not in the log of {size} entries")
    event: dict[str, Any] = json.loads(leaf)
    check(event["seq"] == entry["seq"], f"entry {entry['seq']} names another number")
    return event


def check_message(folder: Path, message: dict[str, Any], events: dict[int, dict[str, Any]]) -> list[str]:
    """The message stands in the page, and the page under the items_root of a proved entry."""
    wanted, page, found = unbase64(message["message_id"]), hashlib.sha256(), list[bytes]()
    for line in (folder / message["page"]).read_bytes().splitlines():
        row = json.loads(line)
        parts = [unbase64(row[name]) for name in ("message_id", "source", "server")]
        for part in parts:
            page.update(len(part).to_bytes(4, "big") + part)
        if parts[0] == wanted:
            found = parts
    check(found, "the page does not hold the message")
    path = [unbase64(node) for node in message["path"]]
    root = root_from(sha256(b"\x00", page.digest()), message["page_no"], message["pages"], path)
    event = events[message["seq"]]
    check(event["type"] == "dev.migrator.conversation.rewrapped", "no conversation was rewrapped by that entry")
    logged = event["data"]["items_root"], event["data"]["ref"]
    check(logged == (root.hex(), message["ref"]), "the page is not under the items_root of the entry")
    return [hashlib.sha256(part).hexdigest() if part else "nothing (a gap, or from an export)" for part in found[1:]]


def main(arguments: list[str]) -> None:
    """Check one bundle; says what was shown."""
    parser = argparse.ArgumentParser(description="Checks a bundle of proofs from an audit log, offline.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--vkey", help="the log's key as you know it, instead of the bundle's log.vkey")
    parser.add_argument("--witness", action="append", default=[], help="the key of a witness that must have signed")
    options = parser.parse_args(arguments)
    bundle = read_bundle(options.folder)
    key = parse_key(options.vkey or (options.folder / "log.vkey").read_text(encoding="utf-8"), LOG_KEY)
    witnesses = [parse_key(text, WITNESS_KEY) for text in options.witness]
    check(bundle["entries"], "a bundle without entries")
    named = {entry[part] for entry in bundle["entries"] for part in ("leaf", "proof")} | {"log.vkey"}
    named |= {bundle["message"]["page"]} if "message" in bundle else set()
    check(named <= bundle["files"].keys(), "bundle.json names a file that it does not list")
    events = {e["seq"]: check_leaf(options.folder, e, key, witnesses) for e in bundle["entries"]}
    refs = {bundle["about"].get("ref"), *bundle["about"].get("conversations", [])}
    for seq, event in events.items():
        check(refs == {None} or event.get("subject") in refs, f"entry {seq} is about somebody else")
        print(f"entry {seq}: {event['time']!a} {event['type']!a} by {event['actor']!a}: {json.dumps(event['data'])}")
    if "message" in bundle:
        source, server = check_message(options.folder, bundle["message"], events)
        print(f"message: SHA-256 of its E2EE ciphertext {source}\nmessage: SHA-256 of what the server holds {server}")
    print(f"OK: {len(events)} entries are in the log {key[0]!a}, {len(witnesses)} witnesses checked")
    if not options.vkey:
        print("The key came with the bundle: compare log.vkey with the one that you got elsewhere, or give --vkey.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BundleError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        text = str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
        sys.exit(f"FAILED: {ascii(text)[1:-1]}")  # what a bundle says goes to no terminal as it is
