"""Put the pictures of all tokens on one contact sheet, a PNG file: ``picas pool export - | python3 collect.py FILE``.

An export has one JSON object in each line: a token with its fields, or a piece of one of its attachments in base64.
Only Python's own library is used, so this runs wherever python3 does.
"""

import base64
import json
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GAP = 8
PAPER = bytes((16, 16, 22))


def pictures(lines: Iterable[str]) -> list[tuple[dict[str, Any], bytes]]:
    """Each token with the PPM file that is attached to it, in the order of its three parameters."""
    tokens: dict[str, dict[str, Any]] = {}
    files: dict[str, bytes] = {}
    for line in map(json.loads, lines):
        if "token" in line:
            tokens[line["token"]["_id"]] = line["token"]
        elif "attachment" in line and line["attachment"]["name"].endswith(".ppm"):
            piece = line["attachment"]
            files[piece["token"]] = files.get(piece["token"], b"") + base64.b64decode(piece["data"])
    found = [(tokens[token_id], data) for token_id, data in files.items()]
    return sorted(found, key=lambda one: (one[0]["power"], one[0]["angle"], one[0]["distance"]))


def rows_of_pixels(ppm: bytes) -> list[bytes]:
    """The rows of a picture, three bytes a pixel, from a PPM file as fractal.c writes it."""
    kind, size, _, pixels = ppm.split(b"\n", 3)
    width, height = (int(number) for number in size.split())
    if kind != b"P6" or len(pixels) != 3 * width * height:
        raise ValueError("a picture is not whole")
    return [pixels[3 * width * y : 3 * width * (y + 1)] for y in range(height)]


def sheet(images: list[list[bytes]], columns: int) -> list[bytes]:
    """The rows of one large picture with all images on it, all of one size, with gaps."""
    height, width = len(images[0]), len(images[0][0]) // 3
    margin = PAPER * (columns * (width + GAP) + GAP)
    rows = [margin] * GAP
    for first in range(0, len(images), columns):
        line = images[first : first + columns]
        for y in range(height):
            row = PAPER * GAP + b"".join(image[y] + PAPER * GAP for image in line)
            rows.append(row.ljust(len(margin), PAPER[:1]))
        rows += [margin] * GAP
    return rows


def png(rows: list[bytes]) -> bytes:
    """A PNG file with these rows of pixels (www.w3.org/TR/png, sections 5 and 11)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def main(path: str) -> int:
    """Write the contact sheet; 1 when the export has no pictures."""
    found = pictures(sys.stdin)
    if not found:
        print("no token has a picture attached", file=sys.stderr)
        return 1
    columns = len({(token["angle"], token["distance"]) for token, _ in found})
    rows = sheet([rows_of_pixels(data) for _, data in found], columns)
    Path(path).write_bytes(png(rows))
    print(f"{path}: {len(found)} pictures, {len(rows[0]) // 3} x {len(rows)} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
