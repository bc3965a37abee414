"""Transparent huge pages for the large temporary arrays of a training step on CPUs.

XLA returns these arrays to the C library after every step, and glibc returns them to the kernel: ResNet-20's
300 MB then cost 74,000 page faults a step.
"""

import os
import platform
import sys
from collections.abc import Mapping

from bnnjax.runtime.signals import hold_back

TUNABLE = "glibc.malloc.hugetlb"
SINCE = (2, 35)  # the first glibc that has it


def environment_with_huge_pages(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Returns the environment in which glibc asks the kernel for transparent huge pages.

    None if it sets them already, or if the C library is not glibc or too old.
    """
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < SINCE:
        return None
    tunables = environment.get("GLIBC_TUNABLES", "")
    if TUNABLE in tunables:
        return None
    return {**environment, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{TUNABLE}=1")))}


def restart_with_huge_pages() -> None:
    """Restarts this process's command, under the same process id, unless huge pages are already set.

    glibc reads its tunables when a program starts.  Call this first in a script, before anything that must
    not happen twice.  GLIBC_TUNABLES=glibc.malloc.hugetlb=0 prevents the restart.
    """
    environment = environment_with_huge_pages(os.environ)
    if environment is not None:
        hold_back()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
