"""The error every module raises when the user, not the code, has something to mend."""


class UserError(Exception):
    """A mistake in what the user gave: a path, a file's content, a setting.

    The message is one line that names the thing, what was expected, what was received and what to
    do. The command line prints it without a traceback and exits with 1.
    """


class UnavailableError(UserError):
    """What every item of a long job needs is gone, such as a server: no further item is tried."""


class InterruptedRunError(Exception):
    """A signal stopped a run after it saved its work.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
