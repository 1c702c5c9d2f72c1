"""Errors and exit status."""

FOUND, FAILED, UNREADABLE, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141


class UsageError(Exception):
    """What the command line asks for can't be done; the message says what can."""
