"""The errors that users meet, in one place, so that every wing can raise them and the commands can report them."""

import signal


class VideoError(RuntimeError):
    """A video or frame folder that is missing or cannot be decoded; the message begins with its path."""


class CheckpointError(ValueError):
    """A file that is no checkpoint, or does not fit the network; the message begins with the path."""


class DataError(ValueError):
    """Data that do not fit their description; the message begins with the file, and the line where there is one."""


class DownloadError(RuntimeError):
    """A file that cannot be downloaded, or no room for it; the message names its address or path."""


class ExportError(RuntimeError):
    """A network that torch cannot export, or an exported program that does not compute what the network does."""


class LaunchError(RuntimeError):
    """Processes that cannot be started, or of which one failed.

    The message is one line about the first failure; a note holds its traceback.
    """


class Stopped(KeyboardInterrupt):
    """A training that was asked to stop, has saved its state, and says how to go on. `signal` is what asked."""

    def __init__(self, message: str, signal: int = signal.SIGINT):
        super().__init__(message)
        self.signal = signal


class RunInUse(RuntimeError):
    """A folder that another training writes to."""


# What a user can cause: the commands print the message and end with exit code 1. CheckpointError and DataError are
# ValueErrors.
USER_ERRORS = (
    ValueError,
    OSError,
    ModuleNotFoundError,
    FloatingPointError,
    VideoError,
    DownloadError,
    ExportError,
    LaunchError,
    RunInUse,
)
