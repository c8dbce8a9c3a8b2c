"""A pilot that runs very many tokens needs no more memory for the last than for the first."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from picas.lifecycle import State
from support.pilots import Site, until

MB = 2**20
ALLOWED = 16 * MB
"""What the allocator may keep of a busy moment; anything that is kept per token would be tens of megabytes."""


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def _growth(site: Site, tokens: int, settled: int) -> tuple[int, int]:
    """The memory of a pilot after so many tokens, and at its end."""
    site.pool.add({"_id": f"t{number:06d}", "command": ["/bin/true"]} for number in range(tokens))
    pilot = site.pilot(cores=2, lease=30.0)
    sizes = [0, 0]

    def ended() -> bool:
        now = _rss(pilot.pid)
        done = site.pool.count()[State.DONE]
        if not sizes[0] and done >= settled:
            sizes[0] = now
        sizes[1] = now or sizes[1]
        time.sleep(0.2)
        return pilot.process.poll() is not None

    until("the pilot ends", ended, 3000.0)
    assert site.pool.count()[State.DONE] == tokens
    sys.stdout.write(f"\n{sizes[0] / MB:.1f} MiB after {settled:,} tokens, {sizes[1] / MB:.1f} MiB at the end\n")
    return sizes[0], sizes[1]


def test_memory_is_flat_over_a_few_thousand_tokens(site: Site) -> None:
    early, late = _growth(site, 6_000, 2_000)
    assert 0 < late <= early + ALLOWED


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_memory_is_flat_over_a_hundred_thousand_tokens(site: Site) -> None:
    early, late = _growth(site, 100_000, 20_000)
    assert 0 < late <= early + ALLOWED
