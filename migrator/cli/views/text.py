"""Small pieces of text that several views share."""

from collections.abc import Sequence

from migrator.cli.output import TableLine

Row = Sequence[str | int | None]


def table(headers: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Aligned columns: numbers to the right, text to the left; None is empty. See `TableLine` for narrow terminals."""
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(header), *(len(row[i]) for row in texts)]) for i, header in enumerate(headers)]
    right = [any(isinstance(row[i], int) for row in rows) for i in range(len(headers))]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in (headers, *texts)
    ]
    widest = max(map(len, lines))
    head = [TableLine(lines[0], widest=widest, cells=())] if any(headers) else []
    cells = [tuple(zip(headers, row, strict=True)) for row in texts]
    return [*head, *(TableLine(text, widest=widest, cells=c) for text, c in zip(lines[1:], cells, strict=True))]


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 message`, `2,000 messages`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def _cell(value: str | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else value
