"""Keeps as many pilots on batch systems as a pool has work for: what to do is decided purely, then done."""
