"""Streaming of data sets too large for memory: records are read and decoded while they are used."""
