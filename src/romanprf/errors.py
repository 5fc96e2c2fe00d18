"""The exception for input that cannot be used."""

#: Characters of a message, about: it may quote a file that is no text.
_LONGEST = 1000


class InputError(ValueError):
    """Input that cannot be used: a file, a row of a table or a key of the configuration.

    The message is one line that names the file, row or key and says what was expected.  Steps
    print it as it is and stop with a non-zero exit code; the library raises it like any other
    ``ValueError``.
    """

    def __init__(self, message: str):
        line = " ".join(message.split())
        line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
        if len(line) > _LONGEST:  # what was expected is at the end
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)
