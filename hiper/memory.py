"""How PyTorch says that there is not enough memory."""

from typing import Final

_WORDS: Final = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it does; on a GPU it is a RuntimeError of its own or of cuBLAS and cuDNN, on a CPU a plain one."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _WORDS)
