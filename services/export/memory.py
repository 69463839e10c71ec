"""Where the memory of chunks comes from."""

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 8 * 1024 * 1024
_KEPT = 16 * 1024 * 1024


def keep_freed() -> None:
    """Lets this process keep up to 16 MiB of what it frees. As glibc has it, each copy of a chunk would get fresh pages
    from the kernel and give them back, which takes longer than the copying. Does nothing where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
