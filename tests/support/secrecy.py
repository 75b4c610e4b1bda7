"""Everything that an error may end up telling somebody."""

import traceback


def told_by(error: BaseException) -> str:
    """Message, representation, attributes, what it hides behind it, and each frame of the program with its values."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__, one.__context__]
    parts = [f"{one!r} {one} {one.args} {vars(one)}" for one in chain]
    for one in chain:
        ours = [(f, line) for f, line in traceback.walk_tb(one.__traceback__) if "/tests/" not in f.f_code.co_filename]
        parts += traceback.StackSummary.extract(iter(ours), capture_locals=True).format()
    return "\n".join(parts)
