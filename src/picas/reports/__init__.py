"""What became of a pool: attempts read from tokens, added up, told in words, drawn along a time axis."""
