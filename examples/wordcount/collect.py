"""Print a table of the counts and their total: ``picas ls done -o jsonl | python3 collect.py``."""

import json
import sys
from pathlib import Path


def main() -> int:
    """Read a token from each line of standard input; 1 when there is none."""
    tokens = sorted(map(json.loads, sys.stdin), key=lambda token: token["input"])
    print(f"{'file':<16}{'words':>7}{'lines':>7}  most frequent")
    for token in tokens:
        counts = token["output"]
        frequent = ", ".join(f"{word} {times}" for word, times in counts["frequent"].items())
        print(f"{Path(token['input']).name:<16}{counts['words']:>7}{counts['lines']:>7}  {frequent}")
    words = sum(token["output"]["words"] for token in tokens)
    lines = sum(token["output"]["lines"] for token in tokens)
    print(f"{'total':<16}{words:>7}{lines:>7}  in {len(tokens)} files")
    return 0 if tokens else 1


if __name__ == "__main__":
    sys.exit(main())
