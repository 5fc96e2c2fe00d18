"""The exception for input that cannot be used."""


class InputError(ValueError):
    """Input that cannot be used: a file, a row of a table or a key of the configuration.

    The message is one line that names the file, row or key and says what was expected.  Steps
    print it as it is and stop with a non-zero exit code; the library raises it like any other
    ``ValueError``.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
