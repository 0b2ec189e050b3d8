"""The one exception for bad input: its text is a full sentence meant for the person at the keyboard."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was wrong, the value, what is allowed and what to do. The command line prints it as one
    line and exits with code 2; library callers catch it as a ``ValueError``.
    """
