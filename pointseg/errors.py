"""The one exception for bad input: its text is a full sentence meant for the person at the keyboard."""

_LONGEST = 4000


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was wrong, the value, what is allowed and what to do. The command line prints it as one
    line and exits with code 2; library callers catch it as a ``ValueError``.

    Messages quote what stands in files. So that no file can break the line, steer the terminal or fill it, characters
    that cannot be printed are escaped, and a message of more than 4000 characters loses its middle.
    """

    def __init__(self, message: str) -> None:
        text = message if message.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        half = _LONGEST // 2 - 3
        super().__init__(text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}")
