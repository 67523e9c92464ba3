"""The exceptions that a user is meant to read."""


class VrmmError(Exception):
    """A problem the user can mend: one line that names the thing and the way out.

    The command line prints the message without a traceback and exits with status 1.
    """


class NonFiniteError(VrmmError):
    """NaN or infinity where numbers must be finite; a training adds which samples it met."""
