"""Jupyter kernels that other processes cannot keep from starting: for many notebooks that are run at once.

jupyter_client chooses five free TCP ports, and the kernel binds them seconds later. Where another process has taken
that of the heartbeat or of the output in the meantime, ipykernel does not end, but hangs: "Kernel didn't respond in 60
seconds". These kernels are reached through sockets in files of their own.
"""

import tempfile
import uuid
from pathlib import Path

from jupyter_client import AsyncKernelManager, KernelManager


class _BehindFiles:
    def __init__(self, **options):
        # Not where Jupyter has them, below the home: the path of a socket has 107 bytes at most, and a home may be on a
        # network's disk.
        connection_file = Path(tempfile.gettempdir()) / f"kernel-{uuid.uuid4().hex}.json"
        super().__init__(transport="ipc", connection_file=str(connection_file), **options)


class FileKernelManager(_BehindFiles, KernelManager):
    """A KernelManager whose kernel is reached through sockets in files."""


class AsyncFileKernelManager(_BehindFiles, AsyncKernelManager):
    """The same for nbclient and papermill, as their `kernel_manager_class`."""
