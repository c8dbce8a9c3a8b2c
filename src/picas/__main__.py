"""``python -m picas`` is the command line."""

import sys

from picas.cli.main import main

sys.exit(main())
