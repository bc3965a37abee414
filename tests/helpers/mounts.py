"""Whether tests can mount their own file systems."""

import os
import subprocess
import tempfile


def may_mount() -> bool:
    """Whether this user may mount a file system."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, timeout=60)
        if tried.returncode == 0:
            subprocess.run(["umount", folder], check=True, timeout=60)
    return tried.returncode == 0
