"""The errors a user can meet; each sentence says subject, found, wanted and remedy."""


class HiPerError(Exception):
    """Base of every error that the user can act on; `exit_code` is what a command line returns for it."""

    exit_code = 1


class PromptError(HiPerError):
    """A prompt is empty or longer than the rows before the tail."""

    exit_code = 4


class TailError(HiPerError):
    """A tail cannot be read, or does not fit the model it is used with."""

    exit_code = 5


class OutputError(HiPerError):
    """A result cannot be written: no permission, no space, no such folder."""

    exit_code = 7


class BundleError(HiPerError):
    """A bundle or one of its artifacts is missing, altered, of another version, or not made for what is asked."""

    exit_code = 8


class RuntimeMissingError(HiPerError):
    """A runtime was asked for that is not installed, whose hardware is not here, or that has not the options wanted."""

    exit_code = 9


class EditError(HiPerError):
    """An edit ended without a picture: its numbers became infinite."""

    exit_code = 13
