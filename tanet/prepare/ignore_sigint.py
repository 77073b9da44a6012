"""Imported first by the server that workers are forked from: a Ctrl-C is the parent's to answer.

The server's imports and its workers, from their first moment on, ignore it. So no traceback of theirs is printed.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
