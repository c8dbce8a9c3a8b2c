"""The logger of PiCaS programs. It has no handlers and no level: the program that logs sets those."""

from __future__ import annotations

import logging

__all__ = ["picaslogger"]

picaslogger = logging.getLogger("PiCaS")
