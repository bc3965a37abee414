"""Data sets too large for memory: records that are read and decoded while they are used."""
