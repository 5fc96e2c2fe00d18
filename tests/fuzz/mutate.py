"""Files with a few random changes, as damage, typing and other programmes make them."""

from __future__ import annotations

import random
import re

#: Values that stand where another was, as text.
STRANGE = (
    "", "0", "-1", "1", "nan", "NaN", "inf", "-inf", "1e300", "-1e300", "1e-300", "1e999",
    "99999999999999999999", "1000000", "true", "T", "F", "null", "'text'", "''", "[]", "{}", "[1]",
    "1,5", "2027-13-45", "banana", "\x00", "\u00e9", "<b>", "$(id)", "{batch}", "../..",
)  # fmt: skip
#: A number of a header, a tree or a table.
NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
#: Bytes of a card of a FITS header.
CARD = 80


def flipped(content: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 3, 50))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def cut(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randrange(len(content))]


def part_gone(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice((1, 80, 2880, 10_000))]
    return content


def part_twice(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.choice((1, 80, 2880, 10_000))]
    return content


def overwritten(content: bytearray, rng: random.Random) -> bytearray:
    start, size = rng.randrange(len(content)), rng.choice((1, 4, 80, 2880))
    size = min(size, len(content) - start)
    content[start : start + size] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return content


def number_replaced(content: bytearray, rng: random.Random) -> bytearray:
    """Another value in place of a number; what follows moves."""
    found = list(NUMBER.finditer(content))
    if found:
        span = rng.choice(found).span()
        content[slice(*span)] = rng.choice(STRANGE).encode()
    return content


def line_replaced(content: bytearray, rng: random.Random) -> bytearray:
    """One line repeated, gone, or moved."""
    lines = content.splitlines(keepends=True)
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.randrange(3)):
        lines.insert(rng.randrange(len(lines) + 1), line)
    return bytearray(b"".join(lines))


def card_replaced(content: bytearray, rng: random.Random) -> bytearray:
    """Another value in a card of a FITS header, of which the cards start at the multiples of 80."""
    keys = [n for n in range(0, len(content) - CARD, CARD) if content[n + 8 : n + 10] == b"= "]
    if keys:
        start = rng.choice(keys)
        value = rng.choice(STRANGE).encode()[: CARD - 10]
        content[start + 10 : start + CARD] = value.rjust(20).ljust(CARD - 10)
    return content


ANYWHERE = (flipped, cut, part_gone, part_twice, overwritten)
#: Changes by kind of file.
OF_TEXT = (*ANYWHERE, number_replaced, number_replaced, line_replaced)
OF_FITS = (*ANYWHERE, *[card_replaced] * 5)


def mutated(content: bytes, seed: int, changes: tuple, head: int) -> bytes:
    """A file with one to three changes, most of them in its first ``head`` bytes."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = head if rng.random() < 0.8 else len(content)
        first, rest = bytearray(content[:size]), content[size:]
        if first:
            content = bytes(rng.choice(changes)(first, rng)) + rest
    return content
