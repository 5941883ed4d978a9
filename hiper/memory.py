"""How PyTorch says that there is not enough memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it does; on a GPU it is a RuntimeError of its own, on a CPU a plain one, told by its words."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
