"""The compiled inner loops: plain contiguous arrays in and out, serial, `nogil`; no checks, no options, no classes.

Each kernel has a NumPy twin, in ``tests/reference.py`` or beside its tests, that it must equal. Numba is imported here
only. A kernel compiles when it is first called; its code is kept in the user's cache folder, or below
``MRCALIB_CACHE_DIR``, for the processes that follow. Set that empty to keep nothing.
"""
