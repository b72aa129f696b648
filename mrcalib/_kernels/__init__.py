"""The compiled inner loops: plain contiguous arrays in and out, serial, `nogil`; no checks, no options, no classes.

Each kernel has a NumPy twin in ``tests/reference.py`` that it must equal exactly. Numba is imported here only, and each
kernel compiles when it is first called. Setting ``MRCALIB_NUMBA_CACHE=1`` keeps the compiled code on disk; it is off by
default because Numba's cache does not see changes in other files (numba issues 4807 and 10128).
"""
