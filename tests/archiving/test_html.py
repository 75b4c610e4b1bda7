"""Pages: every message with what it refers to, and nothing that a stranger wrote acts."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from migrator.archiving.html.index import PAGE_ENTRIES, SHOWN
from migrator.archiving.html.sanitising import MAX_TAGS, sanitised
from migrator.archiving.saved_files import harmless
from migrator.core.outcomes import GapReason
from tests.archiving.rooms import Attached, Room, attachment, edit, gap, raw, said, written
from tests.support.browser import chromium, needs_browser

_TAGS_OF_OURS = {
    "a", "article", "b", "bdi", "body", "br", "code", "div", "footer", "h1", "h2", "head", "header", "html", "img",
    "li", "main", "meta", "nav", "p", "pre", "span", "style", "table", "tbody", "td", "th", "thead", "time", "title",
    "tr", "ul",
}  # fmt: skip


class Tags(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Each element."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Each text."""
        self.texts.append(data)


def page(folder: Path, room: Room, attachments: Attached | None = None, number: int = 1) -> str:
    """One page of a room."""
    return (written(folder, room, attachments) / f"messages-{number:05}.html").read_text(encoding="utf-8")


def article(text: str, number: int) -> str:
    """One message of a page, without its markup."""
    found = re.search(rf'<article id="m{number}">(.*?)</article>', text, re.DOTALL)
    assert found is not None
    return " ".join("".join(Tags(found[1]).texts).split())


def test_an_edit_shows_what_it_replaced(tmp_path: Path) -> None:
    """The first edit replaced the message, the second the first; the message names both; a stranger's is told."""
    room = Room(
        [
            said("$a", "first words"),
            edit("$b", "$a", "second words"),
            edit("$c", "$a", "third words"),
            edit("$d", "$a", "forged", sender="@mallory:example.org"),
            edit("$e", "$nowhere", "lost"),
        ]
    )
    text = page(tmp_path, room)
    assert article(text, 1).endswith("first words edited by no. 2, no. 3, no. 4")
    assert "edits no. 1 replaced: first words second words" in article(text, 2)
    assert "edits no. 1 replaced: second words third words" in article(text, 3)
    assert "clients ignore such an edit" in article(text, 4)
    assert "replaced" not in article(text, 4)
    assert "an event that is not in this archive, $nowhere" in article(text, 5)


def test_answers_threads_and_reactions_are_told_on_both_sides(tmp_path: Path) -> None:
    """Each names what it is about, with its words; what it is about counts them."""
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$a", "key": "👍"}}
    room = Room(
        [
            said("$a", "root"),
            said("$b", "answer", {"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}}),
            said("$c", "in thread", {"m.relates_to": {"rel_type": "m.thread", "event_id": "$a"}}),
            *(raw(f"$r{n}", json.dumps({"type": "m.reaction", "content": reaction})) for n in range(SHOWN + 2)),
            gap("$g", "redacted"),
            said("$h", "answer to a gap", {"m.relates_to": {"m.in_reply_to": {"event_id": "$g"}}}),
        ]
    )
    text = page(tmp_path, room)
    assert "in reply to no. 1: @alice:example.org: root answer" in article(text, 2)
    assert "in the thread of no. 1: @alice:example.org: root in thread" in article(text, 3)
    assert "reacted 👍" in article(text, 4)
    root = article(text, 1)
    assert "its thread: no. 3" in root
    assert f"👍 {SHOWN} reactions: no. 4" in root
    assert root.endswith("and 2 more")
    assert f"in reply to no. {len(room.all) - 1} (redacted)" in article(text, len(room.all))


def test_what_stands_beside_the_ciphertext_counts(tmp_path: Path) -> None:
    """Relations are kept in the clear, and most payloads have none; what only the payload claims is nothing."""
    beside = json.dumps({"rel_type": "m.replace", "event_id": "$a"})
    new = said("$b", "* new", {"m.new_content": {"body": "new"}})
    claimed = said("$c", "no answer", {"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}})
    odd = ["[]", "nonsense", '{"rel_type":NaN}', "[" * 10_000]
    room = Room(
        [said("$a", "old"), replace(new, relation=beside), replace(claimed, relation="null")]
        + [replace(said(f"${n}"), relation=text) for n, text in enumerate(odd)]
    )
    text = page(tmp_path, room)
    assert "edits no. 1 replaced: old new" in article(text, 2)
    assert "in reply to" not in article(text, 3)
    assert article(text, 1).endswith("edited by no. 2")


def test_every_reason_of_a_gap_has_words(tmp_path: Path) -> None:
    """A gap stands in its place with the reason, and the contents count them."""
    room = Room([gap(f"${reason.value}", reason.value) for reason in GapReason] + [gap("$odd", "something new")])
    text = page(tmp_path, room)
    for number, reason in enumerate(GapReason, start=1):
        assert reason is GapReason.REDACTED or f"({reason.value})" in article(text, number)
    contents = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert all(f'<th scope="row">{reason.value}</th>' in contents for reason in GapReason)
    assert "9 that stayed sealed" in contents


def test_a_time_that_is_none_is_told(tmp_path: Path) -> None:
    """A malformed message may have any time."""
    times = [-(2**63), -1, 2**63 - 1]
    text = page(tmp_path, Room([replace(gap(f"${n}", "malformed"), sent_at=n) for n in times]))
    assert [f"time {n}" in article(text, 1 + at) for at, n in enumerate(times)] == [True, False, True]
    assert "1969-12-31" in text


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='mxc://evil/x'><img src=https://evil.example/pixel.png>",
    "<a href='javascript:alert(1)'>x</a><a href=' java\tscript:alert(1)'>x</a><a href='data:text/html,x'>y</a>",
    "<a href='//evil.example'>x</a><a href='../../etc/passwd'>y</a><a href='file:///etc/passwd'>z</a>",
    "</p></article></main><h1>forged</h1><style>*{display:none}</style>",
    "<svg onload=alert(1)><math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe><object data=x></object><embed src=x>",
    "<form action=https://evil.example><input name=x><button>Log in</button></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'><base href=https://evil.example/>",
    "<p style='position:fixed' class=gap id=m1 onclick=alert(1)>x</p><font color=red data-mx-bg-color=x>y</font>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "{{ 7 * 7 }} {% raw %} ${x} <!-- comment --> <![CDATA[x]]> &lt;script&gt;",
    "]]>\"'`<x y=\"", "<b>" * 100, "<mx-reply><blockquote>old</blockquote></mx-reply>new",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_a_stranger_wrote_acts(tmp_path: Path, attack: str) -> None:
    """In bodies, HTML, ids, senders, types, reactions, names: no element, attribute or address but what is allowed."""
    relation = {"rel_type": "m.annotation", "event_id": attack, "key": attack}
    room = Room(
        [
            said(attack, attack, sender=attack, format="org.matrix.custom.html", formatted_body=attack),
            edit("$e", attack, attack),
            raw("$r", json.dumps({"type": "m.reaction", "content": {"m.relates_to": relation}})),
            raw(
                "$t", json.dumps({"type": attack, "content": {attack: attack}}), kind=f"application/json;type={attack}"
            ),
            raw("$o", attack, kind=attack),
            said("$f", attack, msgtype="m.file", url=attack, geo_uri=attack, file={"url": attack}),
            gap(attack, attack),
        ],
        attack,
    )
    folder = written(tmp_path, room, Attached(r=[attachment(b"x", name=attack, mimetype=attack, gap=attack)]))
    for path in folder.glob("*.html"):
        for tag, attributes in Tags(path.read_text(encoding="utf-8")).found:
            assert tag in _TAGS_OF_OURS, tag
            assert not any(name.startswith("on") or name in ("srcdoc", "action") for name in attributes)
            assert attributes.get("http-equiv") in (None, "Content-Security-Policy")
            assert "style" not in attributes
            if tag == "a" and (target := attributes.get("href")) is not None:
                assert re.fullmatch(r"(messages-\d{5}\.html)?(#m\d+)?|index\.html|https?://.*|mailto:.*", target), (
                    target
                )
                assert not target.startswith("http") or "noreferrer" in (attributes["rel"] or "")
            if tag == "img":
                assert (attributes.get("src") or "").startswith("attachments/")


def test_formatted_text_is_kept_as_far_as_it_is_allowed() -> None:
    """Lists, tables, code and links live; quotes for old clients, pictures and colours go."""
    html = sanitised(
        '<mx-reply>old</mx-reply><ol start="3"><li><strong>a</strong></li></ol><pre><code class="x">x</code></pre>'
        '<a href="https://example.org/?a=1&amp;b=2" target="_self">link</a><font color="red">red</font>'
        '<img src="mxc://a/b">'
    )
    assert html is not None
    assert html.startswith('<ol start="3"><li><strong>a</strong></li></ol><pre><code>x</code></pre>')
    assert 'href="https://example.org/?a=1&amp;b=2"' in html
    assert html.endswith('rel="noreferrer noopener nofollow">link</a>red')


def test_endless_markup_is_shown_as_plain_text(tmp_path: Path) -> None:
    """Elements that nest without end cost an HTML parser quadratic time: their message's plain text is shown."""
    html = "<div>" * (MAX_TAGS + 1)
    text = page(tmp_path, Room([said("$a", "plain", format="org.matrix.custom.html", formatted_body=html)]))
    assert article(text, 1).endswith("plain")
    assert "rich" not in text.partition("<main>")[2]


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u202a", "\0", "\x1b", "\x85", "\u2028", "\ud800", "\x7f"])
def test_what_turns_a_line_round_is_written_out(tmp_path: Path, mark: str) -> None:
    """Bidirectional overrides, control characters and lone surrogates, also as character references."""
    character = f"&#{ord(mark)};" if not "\ud800" <= mark <= "\udfff" and mark not in "\0\x85" else ""
    payload = {"type": "m.room.message", "content": {"msgtype": "m.text", "body": f"a{mark}b"}}
    html = {"format": "org.matrix.custom.html", "formatted_body": f"a{character}b"}
    text = page(tmp_path, Room([raw("$a", json.dumps(payload)), said("$b", "x", html)]))
    assert mark not in text
    assert f"a⟦U+{ord(mark):04X}⟧b" in article(text, 1)


def test_other_content_is_shown_as_text_or_base64(tmp_path: Path) -> None:
    """Not every history is Matrix's: what is UTF-8 can be read, everything else is there as base64."""
    octets = "application/octet-stream"
    text = page(tmp_path, Room([raw("1", "grüß <dich>", kind=octets), raw("2", b"\xff\xfe\x00", kind=octets)]))
    assert article(text, 1).endswith("grüß <dich>")
    assert article(text, 2).endswith("//4A")


def test_files_are_links_and_thumbnails_pictures(tmp_path: Path) -> None:
    """Saved under harmless names, shown under their own; what was not migrated says why; an address is only words."""
    files = Attached(
        a=[
            attachment(b"<script>", name="../ä.html", mimetype="text/html"),
            attachment(b"\x89PNG", "thumbnail", mimetype="image/png"),
            attachment(name="gone.pdf", gap="missing"),
        ]
    )
    room = Room([said("$a", "see"), said("$b", "left", msgtype="m.file", file={"url": "mxc://example.org/abc"})])
    text = page(tmp_path, room, files)
    tags = Tags(text).found
    assert [a["src"] for tag, a in tags if tag == "img"] == ["attachments/000002-attachment.png"]
    assert [a["href"] for tag, a in tags if tag == "a" and "download" in a] == [
        "attachments/000001-attachment.bin",
        "attachments/000002-attachment.png",
    ]
    assert (tmp_path / "pages" / "attachments" / "000001-attachment.bin").read_bytes() == b"<script>"
    assert "file gone.pdf could not be migrated: it was not in the media store (missing)" in article(text, 1)
    assert "Its file is not in this archive: mxc://example.org/abc" in article(text, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd.bin"),
        ("..\\..\\x.JPG", "x.jpg"),
        ("a\0b.png", "ab.png"),
        ("evil.html", "evil.bin"),
        ("evil.png.exe", "evil-png.bin"),
        (".bashrc", "attachment.bin"),
        ("", "attachment.bin"),
        (None, "attachment.bin"),
        ("con/..", "attachment.bin"),
        ("-rf *.txt", "rf.txt"),
        ("x" * 300 + ".txt", "x" * 60 + ".txt"),
    ],
)
def test_a_file_gets_a_harmless_name(name: str | None, expected: str) -> None:
    """No path, no option, no kind that a click would run."""
    assert harmless(name) == expected


def test_pages_turn_and_links_cross_them(tmp_path: Path) -> None:
    """A page ends after so many messages; an answer on the third finds its message on the first. Memory: a page."""
    answer = {"m.relates_to": {"m.in_reply_to": {"event_id": "$0"}}}
    room = Room([*(said(f"${n}", f"no {n}") for n in range(2 * PAGE_ENTRIES)), said("$last", "late", answer)])
    text = page(tmp_path, room, number=3)
    assert 'href="messages-00001.html#m1"' in text
    assert "in reply to no. 1: @alice:example.org: no 0 late" in article(text, 2 * PAGE_ENTRIES + 1)
    assert 'href="messages-00002.html" rel="prev"' in text
    assert 'rel="next"' not in text
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == [
        "index.html", "manifest.json", "messages-00001.html", "messages-00002.html", "messages-00003.html"
    ]  # fmt: skip
    assert max(room.asked, default=0) <= 100


def test_long_messages_make_shorter_pages(tmp_path: Path) -> None:
    """Where messages are long a page holds fewer of them; one that is longer than a page has its own."""
    room = Room([said(f"${n}", "x" * 700_000) for n in range(3)])
    assert len(list(written(tmp_path, room).glob("messages-*.html"))) == 3


def test_an_empty_history_has_contents(tmp_path: Path) -> None:
    """No messages, no pages, and a page of contents that says so."""
    folder = written(tmp_path, Room([]))
    assert "There are none." in (folder / "index.html").read_text(encoding="utf-8")
    assert not list(folder.glob("messages-*"))


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a730000000b49444154789c636060800000000800013ed9"
    "6a4f0000000049454e44ae426082"
)


@needs_browser
def test_a_browser_shows_pictures_and_runs_nothing(tmp_path: Path) -> None:
    """Opened from disk, as a reader does: the page stands, the policy lets its pictures through, no script has run."""
    hostile = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    room = Room(
        [said("$a", hostile, format="org.matrix.custom.html", formatted_body=hostile), said("$b", "<b>plain</b>")]
    )
    files = Attached(a=[attachment(PIXEL, "thumbnail", mimetype="image/png")])
    path = written(tmp_path, room, files) / "messages-00001.html"
    shown = chromium(tmp_path, "--dump-dom", path.as_uri())
    assert "<title>Page 1: !room:example.org</title>" in shown
    assert "&lt;b&gt;plain&lt;/b&gt;" in shown
    assert 'src="attachments/000001-attachment.png"' in shown
