"""``picas web``: a page to see and steer a pool, and an API for machines. Imported by that command alone."""
