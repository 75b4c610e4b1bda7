"""Plays transcripts: what an operator types, and what the program says to that.

A transcript has scenes; the first line of each names where the campaign stands (`campaign: executed`, see `BEGINS`). A
line that begins with `$ migrator` is typed; what follows is what comes of it: standard output, then each line of
standard error behind `! `, then `[12]` if the exit status is not 0. PLAN, RUN, CONVERSATION and ACCOUNT stand for the
newest plan and run, a migrated conversation, and an account that was told. `| head -n 3` and
`| cut -c 1-80` are understood.

What differs from call to call is replaced by what does not: see `settled`.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from fixtures.world import Shape
from migrator import config, setup, verification
from migrator.campaign import open_campaign
from migrator.cli.session import Session
from migrator.core.progress import NoProgress
from tests.cli import campaigns
from tests.cli.running import Done, Program

SMALL: Final = Shape(accounts=12, conversations=16, messages=120, seed=3, users=campaigns.SHAPE.users)


def verified(folder: Path) -> None:
    """A run was completed and verified."""
    campaigns.executed(folder)
    with open_campaign(campaigns.spec_of(folder)) as campaign:
        verification.verify(campaign, None, sample=None, progress=NoProgress())


def refused(folder: Path) -> None:
    """Somebody handed in what is no record and no export."""
    (folder / "inbox").mkdir()
    (folder / "inbox" / "nonsense.jsonl").write_text("nonsense\n", encoding="utf-8")
    (folder / "inbox" / "nonsense.export.tar").write_bytes(b"nonsense")


BEGINS: Final[dict[str, Callable[[Path], None]]] = {
    "planned": campaigns.planned,
    "executed": campaigns.executed,
    "verified": verified,
    "stopped": campaigns.stopped,
    "damaged": campaigns.damaged,
    "rotated": campaigns.rotated,
    "bounced": campaigns.bounced,
    "refused": refused,
    "with operators": campaigns.planned_by_operators,
    "out of its window": campaigns.out_of_its_window,
}
"""Where a campaign may stand; also `none`, an empty folder, `begun`, after `init`, and `collected`, their base."""

VALUES: Final[dict[str, Callable[[Path], str]]] = {
    "PLAN": campaigns.newest_plan,
    "RUN": campaigns.newest_run,
    "CONVERSATION": campaigns.migrated,
    "ACCOUNT": lambda folder: campaigns.ask(folder, "SELECT min(account_id) FROM migrator_notice"),
}


class Stages:
    """A folder that a campaign is brought to any stage in, as often as one likes; each stage is made once.

    It is always the same folder: a plan is bound to the place of its source, and processes for workers live in it.
    """

    def __init__(self, place: Path) -> None:
        self.folder = place / "campaign"
        self.folder.mkdir()
        self._kept = place / "kept"
        self._kept.mkdir()

    def enter(self, stage: str) -> Path:
        """The folder, with the campaign at that stage."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if (self._kept / stage).exists():
            shutil.copytree(self._kept / stage, self.folder, dirs_exist_ok=True)
        elif stage != "none":
            self._make(stage)
            shutil.copytree(self.folder, self._kept / stage)
        return self.folder

    def _make(self, stage: str) -> None:
        if stage == "collected":
            campaigns.collected(self.folder, SMALL)
            return
        if stage == "begun":
            config.write_example(self.folder / "migrator.toml")
            setup.initialise(campaigns.spec_of(self.folder))
            return
        self.enter("collected")
        BEGINS[stage](self.folder)


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of a transcript: where the campaign stands, and the lines that are typed."""

    stage: str
    lines: list[str]

    def play(self, program: Program, folder: Path) -> str:
        """The text anew, as the program has it now; the campaign stands at the stage already."""
        return f"campaign: {self.stage}\n\n{play(self.lines, program, folder)}"


def scenes(text: str) -> list[Scene]:
    """A transcript, taken apart."""
    _, *parts = re.split(r"^campaign: (.*)\n", text, flags=re.MULTILINE)
    return [
        Scene(stage=stage, lines=[line[2:] for line in part.splitlines() if line.startswith("$ ")])
        for stage, part in zip(parts[::2], parts[1::2], strict=True)
    ]


def play(lines: Sequence[str], program: Program, folder: Path, today: date | None = None) -> str:
    """Lines that are typed in a folder, each with what comes of it."""
    settle = Settler(folder, today)
    return "\n\n".join("\n".join(settle.call(line, program)) for line in lines) + "\n"


class Settler:
    """Plays lines in a folder; the same random name gets the same settled name in all of them.

    `today`: what day it is there, if the days that are shown follow from it; they are shown as if it were `TODAY`'s.
    """

    def __init__(self, folder: Path, today: date | None = None) -> None:
        self._folder = folder
        self._shift = date.fromisoformat(campaigns.TODAY[:10]) - today if today is not None else timedelta(0)
        self._names: dict[str, str] = {}

    def call(self, line: str, program: Program) -> Iterator[str]:
        """A line and what came of it."""
        typed, _, pipe = line.partition(" | ")
        words = [VALUES[word](self._folder) if word in VALUES else word for word in shlex.split(typed)]
        assert words[0] == "migrator", f"not a command of ours: {line}"
        done = program(*words[1:])
        shown = list(self._shown(done, pretty="json" in words))
        yield f"$ {line}"
        yield from piped(shown, pipe)

    def _shown(self, done: Done, *, pretty: bool) -> Iterator[str]:
        out = json.dumps(json.loads(done.out), indent=2, ensure_ascii=False) if pretty and done.out else done.out
        yield from (self.settled(line).rstrip() for line in out.rstrip("\n").split("\n") if done.out)
        yield from (f"! {self.settled(line)}".rstrip() for line in done.err.rstrip("\n").split("\n") if done.err)
        if done.status:
            yield f"[{done.status}]"

    def settled(self, line: str) -> str:
        """A line without what differs from call to call: places, ids, digests, rates, times by a real clock."""
        line = line.replace(Session().program(), "migrator").replace(str(self._folder), "/campaign")
        line = _RANDOM.sub(lambda match: self._name(match[0]), line)
        for pattern, replacement in _MEASURED:
            line = pattern.sub(replacement, line)
        return _DAY.sub(self._day, line) if self._shift else line

    def _day(self, match: re.Match[str]) -> str:
        day = date(int(match[1]), int(match[3]), int(match[4])) + self._shift
        return f"{day:%Y}{match[2]}{day:%m}{match[2]}{day:%d}"

    def _name(self, found: str) -> str:
        """As long as what it stands for, as far as that goes: columns stay where they are."""
        if found not in self._names:
            self._names[found] = f"{len(self._names) + 1:0{min(len(found), 8)}}"
        return self._names[found]


_RANDOM: Final = re.compile(
    r"(?<![0-9A-Za-z_/.])[A-Za-z0-9+/_-]{43}=?(?![0-9A-Za-z+/_-])"  # 32 bytes in base64
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUIDs
    r"|(?<![0-9A-Za-z])[0-9a-f]{8,}(?![0-9A-Za-z])"  # ids, digests, references
)
_DAY: Final = re.compile(r"(?<![0-9])(20\d\d)(-?)([01]\d)\2([0-3]\d)(?=T|\b)")
_MEASURED: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[\d,.]+ messages/s, .* of work", "N messages/s, T of work"),
        (r"\d+ (s|min) of work", "T of work"),
        (r"\d+ (s|min) ago", "T ago"),
        (r'("age_seconds": )[\d.]+', r"\1N"),
        (r'("(?:committed_at|signed_at|heartbeat_at)": )"[^"]+"', r'\1"…"'),
        (r"[\d,.]+( messages)?/s\b", r"N\1/s"),
        (r'("(?:messages_per_second|elapsed_seconds|worked_seconds|seconds|size|sealed_bytes)": )[\d.]+', r"\1N"),
        (r"\d+ MiB", "N MiB"),
        (r"\d+ pages", "N pages"),
        (r"(version|\b\d{8}) +(keys|\d+)$", r"\1  \2"),
        (r"\d\.\d s apart", "N s apart"),
        (r"(sealed bytes +)[\d,]+", r"\1N"),
        (r"[\d,]+ bytes, \d+ s for", "N bytes, T for"),
    )
]


def piped(lines: Sequence[str], pipe: str) -> Sequence[str]:
    """What `head -n N` or `cut -c 1-N` lets through."""
    if pipe.startswith("head -n "):
        return lines[: int(pipe.removeprefix("head -n "))]
    if pipe.startswith("cut -c 1-"):
        return [line[: int(pipe.removeprefix("cut -c 1-"))].rstrip() for line in lines]
    assert not pipe, f"nothing here knows {pipe!r}"
    return lines


def held(path: Path, text: str, played: str) -> None:
    """What stands in a file is what was played; or it is written anew, if that is wanted."""
    if rewriting():
        path.write_text(path.read_text(encoding="utf-8").replace(text, played), encoding="utf-8")
    else:
        assert played == text


def rewriting() -> bool:
    """Whether transcripts are to be written anew: `TRANSCRIPTS=write`."""
    return os.environ.get("TRANSCRIPTS") == "write"
