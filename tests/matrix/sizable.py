"""A made-up homeserver of some size, migrated by two workers that are killed on the way. No test: it takes minutes.

    python -m tests.matrix.sizable FOLDER [--rooms 300] [--events 40000]

Real sessions of vodozemac, key export files, encrypted files, messages that were redacted, copied, or whose key nobody
has. Each room's share of the events falls with its rank, so that the largest goes page by page and most are small. The
run is killed with SIGKILL when a third is done, resumed, verified, and compared with what was said.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, cast

import pytest

from migrator.core.encoding import b64url_decode
from migrator.core.megolm import ALGORITHM
from tests.cli.running import Done, Program
from tests.execution.media import encrypted_file
from tests.matrix.campaign import RUN, Consent, MatrixCampaign
from tests.matrix.homeserver import say
from tests.support.megolm import PASSPHRASE, Sending, key_file
from tests.support.synapse import DOMAIN, Homeserver

USERS: Final = 12
IN_SESSION: Final = 100
_SINCE: Final = 1_700_000_000_000
_SOURCE: Final = 'media = "media_store"\n[attachments]\ntarget = "file:blobs"'


class World:
    """The homeserver, and what has to become of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.home = Homeserver(folder / "homeserver.db")
        self.media = folder / "media_store"
        self.media.mkdir()
        self.users = [self.home.user(f"user{number:03}") for number in range(USERS)]
        self.keys = {user_id: self.home.device(user_id, f"PHONE{n}") for n, user_id in enumerate(self.users)}
        self.exports: dict[str, list[dict[str, Any]]] = {user_id: [] for user_id in self.users}
        self.said: dict[str, dict[str, str]] = {}
        self.expected: Counter[str] = Counter()
        self._time = _SINCE

    def fill(self, rooms: int, events: int) -> None:
        """All rooms, in one transaction."""
        self.home.execute("BEGIN")
        whole = sum(1 / rank for rank in range(1, rooms + 1))
        for rank in range(1, rooms + 1):
            self.room(f"!room{rank:04}:{DOMAIN}", max(3, round(events / rank / whole)))
        self.home.execute("COMMIT")
        self.home.close()

    def room(self, room_id: str, events: int) -> None:
        """A room in which two to eight people talk."""
        members = self.random.sample(self.users, self.random.randint(2, 8))
        self.home.room(room_id, *members)
        self.said[room_id] = {}
        sendings: dict[str, tuple[Sending, bool]] = {}
        for number in range(events):
            sender = self.random.choice(members)
            if number % (IN_SESSION * len(members)) == 0:
                sendings = {}
            if sender not in sendings:
                made, known = Sending(room_id, self.keys[sender]), self.random.random() > 0.01
                sendings[sender] = made, known
                for member in members if known else ():
                    self.exports[member].append(made.entry())
            self.say(room_id, sender, *sendings[sender])

    def say(self, room_id: str, sender: str, sending: Sending, known: bool) -> None:
        """One event: mostly a message, now and then a file, a copy after it, a redaction."""
        chance = self.random.random()
        content: dict[str, Any] = {"msgtype": "m.text", "body": "x" * self.random.randint(5, 300)}
        if chance < 0.01:
            content = {"msgtype": "m.file", "body": "a.pdf", "file": self.file()}
        payload = json.dumps({"type": "m.room.message", "room_id": room_id, "content": content}).encode()
        ciphertext = sending.send_raw(payload)
        event_id = self.event(room_id, sender, sending, ciphertext)
        if 0.01 <= chance < 0.015:
            self.home.redact(room_id, event_id)
            self.expected["redacted"] += 1
        elif not known:
            self.expected["no_key"] += 1
        else:
            self.said[room_id][event_id] = hashlib.sha256(payload).hexdigest()
            self.expected["opened"] += 1
            self.expected["attachments"] += chance < 0.01
            if 0.015 <= chance < 0.017:
                self.event(room_id, sender, sending, ciphertext)
                self.expected["replay"] += 1

    def event(self, room_id: str, sender: str, sending: Sending, ciphertext: bytes) -> str:
        """An encrypted event, a second after the one before."""
        self._time += 1000
        content = {
            "algorithm": ALGORITHM, "ciphertext": ciphertext.decode(), "session_id": sending.session_id,
            "sender_key": sending.sender_key,
        }  # fmt: skip
        return self.home.message(room_id, sender, content=content, origin_server_ts=self._time)

    def file(self) -> dict[str, Any]:
        """An encrypted file of some kilobytes in the media store."""
        name = f"{self.random.getrandbits(64):016x}file"
        data = self.random.randbytes(self.random.randint(100, 20_000))
        made = encrypted_file(self.media, name, data, url=f"mxc://{DOMAIN}/{name}")
        path = self.media / "local_content" / name[:2] / name[2:4] / name[4:]
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.media / f"mxc-{name}").rename(path)
        return made


class Commands:
    """`migrator` as a process of its own, where `Program` is one in this process."""

    def __call__(self, *arguments: object) -> Done:
        done = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr)


def _command(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).with_name("migrator")), *map(str, arguments)]


def main() -> None:
    """All of it, with a line for each step."""
    parser = argparse.ArgumentParser(description="migrate a homeserver of some size")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rooms", type=int, default=300)
    parser.add_argument("--events", type=int, default=40_000)
    given = parser.parse_args()
    folder: Path = given.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world = World(folder, seed=1)
    took = _timed(lambda: world.fill(given.rooms, given.events))
    say(f"made in {took:.0f} s: {given.rooms} rooms, {dict(world.expected)}")
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        campaign = MatrixCampaign(cast("Program", Commands()), patch)
        say(f"told, answered, keys brought in: {_timed(lambda: prepare(campaign, world)):.0f} s")
        plan: str = campaign("plan", "-o", "json").json["plan_id"]
        kill_on_the_way(plan, sum(world.expected.values()) - world.expected["attachments"])
        took = _timed(lambda: campaign("resume", "--workers", "2"))
        say(f"resumed: {took:.1f} s")
        say(campaign("status").out)
        say(f"verified: {_timed(lambda: campaign('verify')):.1f} s")
        report = campaign("report", "-o", "json").json
        gaps, sealed = report["gaps"], report["attachments"]["sealed"]
        found = {"opened": report["server_history"]["messages"], "attachments": sealed, **gaps}
        assert found == dict(world.expected), found
        compare(campaign, world)


def prepare(campaign: MatrixCampaign, world: World) -> None:
    """Everybody is told, answers, and hands in what they have."""
    for user_id in world.users:
        address = f"{user_id[1:8]}@example.org"
        world.home = Homeserver(world.folder / "homeserver.db")
        world.home.insert(
            "user_threepids", user_id=user_id, medium="email", address=address, validated_at=1, added_at=1
        )
        world.home.close()
    url = f"sqlite:///{world.folder / 'homeserver.db'}"
    campaign.begin(world.folder, url, domain=DOMAIN, quorum="every_participant", more=_SOURCE)
    campaign.answer(world.folder, [Consent(user_id=user_id, granted=True) for user_id in world.users])
    for user_id in world.users:
        path = world.folder / f"{user_id[1:8]}.megolm-keys.txt"
        path.write_text(key_file(world.exports[user_id], rounds=1000))
        campaign.bring_in(world.folder, path, user_id, PASSPHRASE)


def kill_on_the_way(plan: str, messages: int) -> None:
    """Execute with two workers, and kill the whole group of processes when a third is done."""
    began = time.monotonic()
    running = subprocess.Popen(
        _command("execute", plan, "--workers", "2", "-q"), stdout=subprocess.DEVNULL, start_new_session=True
    )
    done = 0
    while done < messages / 3 and running.poll() is None:
        time.sleep(0.3)
        answer = Commands()("status", "-o", "json")
        done = 0 if answer.status else int(answer.json["progress"]["done"])
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    say(f"killed after {time.monotonic() - began:.1f} s, {done} of {messages} were done")


def compare(campaign: MatrixCampaign, world: World) -> None:
    """Read rooms of all sizes, byte for byte what was said."""
    rooms = list(world.said)
    for room_id in (rooms[0], rooms[1], rooms[len(rooms) // 2], rooms[-1]):
        messages = campaign("read", room_id, "--reason", "test", "-o", "json", at=RUN).json["messages"]
        read = {m["message_id"]: hashlib.sha256(b64url_decode(m["content"])).hexdigest() for m in messages}
        assert read == world.said[room_id]
        say(f"{room_id}: {len(read)} messages are what was said")


def _timed(work: Any) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
