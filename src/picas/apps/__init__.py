"""PiCaS's own command line."""
