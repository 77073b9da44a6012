"""Imported last by the server that workers are forked from: undoes `ignore_sigint` for its other users."""

import signal

from data_scripts.steps.ignore_sigint import handler_before

signal.signal(signal.SIGINT, handler_before)
