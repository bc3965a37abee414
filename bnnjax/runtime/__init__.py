"""Processes, devices and files: what a run needs of the machine."""
