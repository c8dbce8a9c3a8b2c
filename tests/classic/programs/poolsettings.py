"""Where the pool of these programs is: from picas's configuration file, or from the PICAS_ variables."""

import os
from pathlib import Path

from picas.crypto import decrypt_password
from picas.picas_config import PicasConfig

_config = PicasConfig(load=True).config

POOL = {
    "url": _config["host_url"],
    "db": _config["database"],
    "username": _config["username"],
    "password": decrypt_password(_config["encrypted_password"]).decode(),
}


def note(*words):
    """Add a line to the logbook, in one write, so that lines of several pilots do not mix."""
    with Path(os.environ["LOGBOOK"]).open("a") as logbook:
        logbook.write(" ".join(map(str, words)) + "\n")
