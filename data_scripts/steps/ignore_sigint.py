"""Imported first by the server that workers are forked from: a Ctrl-C during its imports prints no traceback."""

import signal

handler_before = signal.signal(signal.SIGINT, signal.SIG_IGN)
