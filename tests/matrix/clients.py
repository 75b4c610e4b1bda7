"""The clients of a fresh homeserver (`homeserver.py` runs this in the homeserver's own virtual environment).

Three users with matrix-nio: encrypted rooms, messages, edits, answers, reactions, a redaction, encrypted files,
somebody who joins late; then a key export from each client and a key backup on the server.
"""

import asyncio
import base64
import hashlib
import hmac
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import httpx
import vodozemac
import yaml
from nio import AsyncClient, AsyncClientConfig, ErrorResponse
from nio.crypto.sessions import OutboundGroupSession

USERS = ("alice", "bob", "carol")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class World:
    """The folder, the homeserver, and who is on it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.clients: dict[str, AsyncClient] = {}
        self.truth: list[dict[str, Any]] = []
        self.encrypted: list[str] = []

    def record_plaintexts(self) -> None:
        """Keep each payload as it goes into the group session."""
        encrypt = OutboundGroupSession.encrypt

        def recording(session: Any, plaintext: str) -> Any:
            self.encrypted.append(plaintext)
            return encrypt(session, plaintext)

        OutboundGroupSession.encrypt = recording

    async def register(self, name: str) -> None:
        """A user, by the shared secret, and a client with a device."""
        secret = yaml.safe_load((self.folder / "homeserver.yaml").read_text())["registration_shared_secret"]
        url = f"{self.address}/_synapse/admin/v1/register"
        nonce = httpx.get(url).json()["nonce"]
        password = f"password-of-{name}"
        role = "admin" if name == "alice" else "notadmin"
        mac = hmac.new(secret.encode(), b"\0".join(map(str.encode, (nonce, name, password, role))), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": role == "admin",
            "mac": mac.hexdigest(),
        }
        httpx.post(url, json=body).raise_for_status()
        store = self.folder / "clients" / name
        store.mkdir(parents=True)
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        client = AsyncClient(self.address, f"@{name}:fresh.example", f"{name.upper()}PHONE", str(store), config)
        done(await client.login(password))
        await self.sync(client)
        self.clients[name] = client

    async def sync(self, *clients: AsyncClient) -> None:
        """Messages, keys and devices, both ways."""
        for client in clients or tuple(self.clients.values()):
            await client.sync(timeout=0, full_state=True)
            if client.should_upload_keys:
                await client.keys_upload()
            if client.should_query_keys:
                await client.keys_query()
            if client.should_claim_keys:
                await client.keys_claim(client.get_users_for_key_claiming())
            await client.send_to_device_messages()

    async def room(self, owner: str, *others: str, version: str) -> str:
        """An encrypted room with everybody in it."""
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        made = done(
            await self.clients[owner].room_create(
                name=f"room of {owner}", initial_state=[encryption], room_version=version
            )
        )
        room_id: str = made.room_id
        await self.join(owner, room_id, *others)
        return room_id

    async def join(self, owner: str, room_id: str, *others: str) -> None:
        """Invited, joined, and known to all with their devices."""
        for name in others:
            done(await self.clients[owner].room_invite(room_id, f"@{name}:fresh.example"))
            done(await self.clients[name].join(room_id))
        await self.sync()
        await self.sync()

    async def send(self, name: str, room_id: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        """An encrypted event, noted with the payload that was encrypted."""
        before = len(self.encrypted)
        sent = done(await self.clients[name].room_send(room_id, kind, content, ignore_unverified_devices=True))
        event_id: str = sent.event_id
        assert len(self.encrypted) == before + 1, "not encrypted"
        sender = f"@{name}:fresh.example"
        told = {"room_id": room_id, "event_id": event_id, "sender": sender}
        self.truth.append(told | {"payload": self.encrypted[-1], "redacted": False})
        return event_id

    async def file(self, name: str, room_id: str, data: bytes) -> str:
        """An encrypted file, uploaded and announced."""
        answer, keys = await self.clients[name].upload(
            lambda *_: io.BytesIO(data), "image/png", "picture.png", encrypt=True, filesize=len(data)
        )
        file = {**keys, "url": answer.content_uri}
        info = {"mimetype": "image/png", "size": len(data)}
        return await self.send(name, room_id, {"msgtype": "m.image", "body": "picture.png", "file": file, "info": info})


def done(answer: Any) -> Any:
    """An answer that is no error."""
    if isinstance(answer, ErrorResponse):
        raise SystemExit(f"the homeserver refused: {answer}")
    return answer


def text(body: str, **relation: Any) -> dict[str, Any]:
    """The content of a message."""
    return {"msgtype": "m.text", "body": body} | ({"m.relates_to": relation} if relation else {})


async def talk(world: World) -> None:
    """Everything that happens in the rooms."""
    direct = await world.room("alice", "bob", version="10")
    group = await world.room("bob", "alice", version="12")
    for number in range(10):
        for name in ("alice", "bob"):
            first = await world.send(name, direct, text(f"{name} says {number} ünïcode 🔑"))
    new = {"m.new_content": text("better"), **text("* better", rel_type="m.replace", event_id=first)}
    await world.send("bob", direct, new)
    await world.send("alice", direct, text("an answer", **{"m.in_reply_to": {"event_id": first}}))
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👍"}}
    done(await world.clients["alice"].room_send(direct, "m.reaction", reaction, ignore_unverified_devices=True))
    await world.file("bob", direct, b"\x89PNG not really a picture" * 50)
    gone = await world.send("alice", direct, text("to be redacted"))
    done(await world.clients["alice"].room_redact(direct, gone, "a mistake"))
    world.truth[-1]["redacted"] = True
    for number in range(5):
        await world.send("alice", group, text(f"before carol {number}"))
    await world.join("bob", group, "carol")
    root = await world.send("bob", group, text("a thread"))
    for number in range(5):
        await world.send("alice", group, text(f"with carol {number}", rel_type="m.thread", event_id=root))
    await world.sync()


async def hand_out_keys(world: World) -> dict[str, Any]:
    """An export from each client, and a backup of carol's keys on the server."""
    (world.folder / "exports").mkdir()
    found: dict[str, Any] = {"exports": {}}
    for name, client in world.clients.items():
        passphrase = f"export passphrase of {name}"
        await client.export_keys(str(world.folder / "exports" / f"{name}.megolm-keys.txt"), passphrase, 10_000)
        found["exports"][f"{name}.megolm-keys.txt"] = {"user": client.user_id, "passphrase": passphrase}
    found["backup"] = {"user": "@carol:fresh.example", "backup_recovery_key": back_up(world, world.clients["carol"])}
    return found


def back_up(world: World, client: AsyncClient) -> str:
    """`m.megolm_backup.v1.curve25519-aes-sha2`; the recovery key as people write it down."""
    secret = vodozemac.Curve25519SecretKey()
    public = secret.public_key()
    header = {"Authorization": f"Bearer {client.access_token}"}
    keys = f"{world.address}/_matrix/client/v3/room_keys"
    algorithm = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": public.to_base64()}}
    version = httpx.post(f"{keys}/version", json=algorithm, headers=header).raise_for_status().json()["version"]
    rooms: dict[str, Any] = {}
    for session in client.store.load_inbound_group_sessions():
        data = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "forwarding_curve25519_key_chain": [],
            "sender_claimed_keys": {"ed25519": session.ed25519},
            "sender_key": session.sender_key,
            "session_key": session.export_session(session.first_known_index),
        }
        sealed = vodozemac.PkEncryption.from_key(public).encrypt(json.dumps(data).encode())
        parts = {"ciphertext": sealed.ciphertext, "mac": sealed.mac, "ephemeral": sealed.ephemeral_key}
        entry = {
            "first_message_index": session.first_known_index,
            "forwarded_count": 0,
            "is_verified": False,
            "session_data": {name: unpadded(value) for name, value in parts.items()},
        }
        rooms.setdefault(session.room_id, {"sessions": {}})["sessions"][session.id] = entry
    httpx.put(f"{keys}/keys", params={"version": version}, json={"rooms": rooms}, headers=header).raise_for_status()
    return recovery_key(secret.to_bytes())


def unpadded(value: bytes) -> str:
    """Base64 as Matrix has it."""
    return base64.b64encode(value).rstrip(b"=").decode()


def recovery_key(secret: bytes) -> str:
    """The specification's form of a 32-byte key: prefix, parity, base58, groups of four."""
    data = b"\x8b\x01" + secret
    parity = 0
    for byte in data:
        parity ^= byte
    number, digits = int.from_bytes(data + bytes([parity]), "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = _BASE58[rest] + digits
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


async def main() -> None:
    """From an empty homeserver to a folder that a migration can begin with."""
    logging.disable(logging.CRITICAL)  # nio tells of every message that a client has no key for
    world = World(Path(sys.argv[1]), sys.argv[2])
    world.record_plaintexts()
    for name in USERS:
        await world.register(name)
    await world.sync()
    await talk(world)
    secrets = await hand_out_keys(world)
    for client in world.clients.values():
        await client.close()
    (world.folder / "secrets.json").write_text(json.dumps(secrets, indent=1))
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in world.truth)
    (world.folder / "truth.jsonl").write_text("".join(lines))
    print(f"{len(world.truth)} encrypted events by {len(world.clients)} users")  # noqa: T201 - a program of its own


asyncio.run(main())
