"""Tries on a homeserver what `runbooks/keeping-e2ee-off.md` says of it (`homeserver.py` runs this)."""

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


class User:
    """One user's calls of the client-server API."""

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": f"password-of-{name}",
        }
        answer = httpx.post(f"{address}/_matrix/client/v3/login", json=body).raise_for_status().json()
        self.user_id: str = answer["user_id"]
        self._header = {"Authorization": f"Bearer {answer['access_token']}"}

    def __call__(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """One call; `path` below `/_matrix/client/v3` unless it begins with `/_synapse`."""
        prefix = "" if path.startswith("/_synapse") else "/_matrix/client/v3"
        return httpx.request(method, f"{self._address}{prefix}{path}", json=body, headers=self._header, timeout=60)


def say(claim: str, seen: object) -> None:
    """One line of the recorded run."""
    print(f"  {claim}: {seen}")  # noqa: T201 - a program of its own


def refused(answer: httpx.Response) -> str:
    """Status and words of an error; what was allowed is told as well."""
    return f"{answer.status_code} {answer.json().get('error', 'allowed')}"


def state(user: User, room_id: str, kind: str) -> Any:
    """A state event's content; None where there is none."""
    answer = user("GET", f"/rooms/{quote(room_id)}/state/{kind}/")
    return answer.json() if answer.is_success else None


def own_encrypted_room(user: User, name: str) -> str:
    """The encrypted room that a user made."""
    rooms = user("GET", "/joined_rooms").json()["joined_rooms"]
    named = [room for room in rooms if (state(user, room, "m.room.name") or {}).get("name") == name]
    (found,) = (room for room in named if state(user, room, "m.room.encryption"))
    return str(found)


def new_rooms(alice: User) -> str:
    """What becomes of requests for encryption; the id of a plain room."""
    say("create a room with encryption", refused(alice("POST", "/createRoom", {"initial_state": [ENCRYPTION]})))
    plain: str = alice("POST", "/createRoom", {"preset": "trusted_private_chat"}).json()["room_id"]
    say("a private room is encrypted by default", state(alice, plain, "m.room.encryption") is not None)
    levels = state(alice, plain, "m.room.power_levels")["events"]
    say("power level for it in a new room", levels.get("m.room.encryption"))
    path = f"/rooms/{quote(plain)}/state/m.room.encryption/"
    say("turn encryption on in it", refused(alice("PUT", path, ENCRYPTION["content"])))
    say("send a message in it", alice("PUT", f"/rooms/{quote(plain)}/send/m.room.message/1", text()).status_code)
    return plain


def text() -> dict[str, str]:
    """A message's content."""
    return {"msgtype": "m.text", "body": "plain"}


def old_room(alice: User, room: str) -> None:
    """What still works in an encrypted room."""
    sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y"}
    path = f"/rooms/{quote(room)}/send/m.room.encrypted/2"
    say("send an encrypted event in an old room", refused(alice("PUT", path, sealed)))
    say("take its encryption away", refused(alice("PUT", f"/rooms/{quote(room)}/state/m.room.encryption/", {})))
    before = set(alice("GET", "/joined_rooms").json()["joined_rooms"])
    say("upgrade it by the API", refused(alice("POST", f"/rooms/{quote(room)}/upgrade", {"new_version": "12"})))
    made = set(alice("GET", "/joined_rooms").json()["joined_rooms"]) - before
    say("rooms that the attempt left", len(made))
    say("tombstones that it left", int(state(alice, room, "m.room.tombstone") is not None))


def successor(alice: User, room: str) -> None:
    """A room without encryption that continues an old one."""
    tombstone = {"body": "continued without end-to-end encryption"}
    last = alice("GET", f"/rooms/{quote(room)}/messages?dir=b&limit=1").json()["chunk"][0]["event_id"]
    body = {"creation_content": {"predecessor": {"room_id": room, "event_id": last}}, "room_version": "11"}
    made = alice("POST", "/createRoom", body).json()["room_id"]
    answer = alice("PUT", f"/rooms/{quote(room)}/state/m.room.tombstone/", tombstone | {"replacement_room": made})
    say("a successor by hand", f"{answer.status_code}, encrypted {state(alice, made, 'm.room.encryption') is not None}")


def purge(alice: User, room: str, count: Callable[[], int]) -> None:
    """The encrypted events leave the homeserver's database."""
    before = count()
    body = {"delete_local_events": True, "purge_up_to_ts": int(time.time() * 1000)}
    started = alice("POST", f"/_synapse/admin/v1/purge_history/{quote(room)}", body)
    say("purge_history", f"{started.status_code} {started.json().get('error', 'started')}")
    if not started.is_success:
        return
    path = f"/_synapse/admin/v1/purge_history_status/{started.json()['purge_id']}"
    while (status := alice("GET", path).json()["status"]) == "active":
        time.sleep(0.1)
    say("purge_history ended", f"{status}, encrypted events {before} before, {count()} after")


def main() -> None:
    """Every claim of the page that can be tried on one homeserver."""
    folder, address = Path(sys.argv[1]), sys.argv[2]
    well_known = httpx.get(f"{address}/.well-known/matrix/client").json()
    say(".well-known/matrix/client", well_known.get("io.element.e2ee"))
    alice = User(address, "alice")
    new_rooms(alice)
    room = own_encrypted_room(alice, "room of alice")
    old_room(alice, room)
    successor(alice, room)
    purge(alice, room, lambda: count(folder, room))


def count(folder: Path, room: str) -> int:
    """Encrypted events of a room in the homeserver's database."""
    connection = sqlite3.connect(f"file:{folder / 'homeserver.db'}?mode=ro", uri=True)
    query = "SELECT COUNT(*) FROM events WHERE type = 'm.room.encrypted' AND room_id = ?"
    found: int = connection.execute(query, (room,)).fetchone()[0]
    connection.close()
    return found


main()
