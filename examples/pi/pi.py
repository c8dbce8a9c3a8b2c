"""Pi by chance: throw points at a square in many calls, and count those in the circle.

Kill it and start it again: with the key, calls that were done are not made again.
"""

from __future__ import annotations

import random
import sys

import picas

THROWS = 20_000


def in_circle(seed: int) -> int:
    """How many of the points thrown from this seed are in the circle."""
    chance = random.Random(seed)
    return sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(THROWS))


def main() -> None:
    """``pi.py [POOL [CALLS]]``: make so many calls through a pool, and print what comes of them."""
    pool, calls = (sys.argv[1:] + ["pi.db", "200"][len(sys.argv) - 1 :])[:2]
    total = 0
    for number, found in enumerate(picas.map(in_circle, range(int(calls)), pool=pool, key="pi"), 1):
        total += found
        print(f"\r{number} calls: {4 * total / (number * THROWS):.5f}", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
