"""Errors that the local server answers with: a gRPC code and its HTTP status."""

# gRPC's code names and the HTTP statuses that TensorFlow Serving gives them, `http_server.cc`.
HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 503,
    "FAILED_PRECONDITION": 412,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}

# gRPC sends messages in a trailer, of which clients read 8 kB. There a character takes up to 12.
_LONGEST_MESSAGE = 500


class ServingError(Exception):
    """A request that is answered with an error.

    Args:
        code: A key of `HTTP_STATUS`.
        message: What is wrong, for the client. It may quote what the client sent.
        http_status: Where HTTP has a better word than the code's: 408, 413, 415.
    """

    def __init__(self, code: str, message: str, http_status: int | None = None) -> None:
        super().__init__(one_line(message))
        self.code = code
        self.message = one_line(message)
        self.http_status = http_status or HTTP_STATUS[code]


def invalid(message: str) -> ServingError:
    """Returns the error for a request that can't be right, whoever answers it."""
    return ServingError("INVALID_ARGUMENT", message)


def internal() -> ServingError:
    """Returns the error for a fault of the server itself."""
    return ServingError("INTERNAL", "Internal error of the server; its log has the details")


def one_line(text: str) -> str:
    """Returns a text cut to the length of a line, without control characters."""
    line = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_MESSAGE])
    return line if len(text) <= _LONGEST_MESSAGE else f"{line}..."
