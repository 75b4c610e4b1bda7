"""What hostile and broken clients hand in."""

from pathlib import Path


def tamper(folder: Path) -> None:
    """Add to a hand-in: a forged record, a record that is no record, an archive cut off."""
    records = sorted((folder / "authorizations").glob("*.jws"))
    if records:
        head, payload, signature = records[0].read_text().strip().split(".")
        forged = f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        (folder / "authorizations" / "forged.jws").write_text(forged)
    (folder / "authorizations" / "nonsense.jws").write_text('{"decision":"grant","account_id":"everybody"}')
    archives = sorted((folder / "exports").glob("*.export.tar"))
    if archives:
        data = archives[-1].read_bytes()
        (folder / "exports" / "cut-off.export.tar").write_bytes(data[: len(data) // 2])
