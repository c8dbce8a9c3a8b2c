"""PiCaS's older way to download many files from grid storage; ``picas.srm`` has the client itself."""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping
from typing import Any

from picas import srm

__all__ = ["Downloader", "download"]


class Downloader(srm.Downloader):
    """A thread as in ``picas.srm``, with ten tries for each file; its logger is named ``Pindel``."""

    tries = 10

    def __init__(self, q: queue.Queue[Any]) -> None:
        super().__init__(q, logging.getLogger("Pindel"))


def download(files: Mapping[Any, str], threads: int = 10) -> None:
    """Download the values of a dict into the working directory, as ``picas.srm.download_many`` does."""
    srm.fetch(files.values(), threads, Downloader)
