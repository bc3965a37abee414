"""Processes, devices and files."""
