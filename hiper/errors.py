"""The errors of the method; `engine.errors` holds those that engine shares, exit codes are distinct over both."""

from engine.errors import HiPerError, OutputError, PromptError, TailError

__all__ = ["HiPerError", "ImageError", "ModelError", "OutputError", "PromptError", "TailError"]


class ImageError(HiPerError):
    """A file is no image, or one that cannot be used as it is."""

    exit_code = 3


class ModelError(HiPerError):
    """A model is missing, incomplete, or of a kind that a tail is not defined for."""

    exit_code = 6
