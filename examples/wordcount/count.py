"""Count the words of one text file: ``python3 count.py FILE``.

The result is a JSON object. A pilot names in PICAS_OUTPUT the file to write it to, and puts it into the field
``output`` of the token; without a pilot it is printed.
"""

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path


def count(text: str) -> dict[str, object]:
    """Words, lines, and the most frequent words of four letters or more; a word may have ' or - within."""
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())
    long = Counter(word for word in words if len(word) >= 4)
    frequent = sorted(long.items(), key=lambda item: (-item[1], item[0]))[:5]
    return {"words": len(words), "lines": len(text.splitlines()), "frequent": dict(frequent)}


def main(path: str) -> None:
    """Count one file."""
    result = json.dumps(count(Path(path).read_text(encoding="utf-8")))
    if "PICAS_OUTPUT" in os.environ:
        Path(os.environ["PICAS_OUTPUT"]).write_text(result, encoding="utf-8")
    else:
        print(result)


if __name__ == "__main__":
    main(sys.argv[1])
