"""Pure ideas of the house: no I/O, no clock, no randomness."""
