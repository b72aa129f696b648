"""Compressing what is written, in blocks over threads: one plain gzip or zip member, which every reader opens.

Each block of a fixed size is deflated by itself and ends on a byte, as pigz does it, so the file depends neither on the number
of threads nor on how the data were handed over. Level 1 is Intel's ISA-L where the package ``isal`` is installed.

``isal.igzip_threaded`` also gives equal bytes for any number of threads. This code stays beside it because ``.npz`` needs raw
deflate, because levels above 3 are zlib's, and because files are also written where ``isal`` is not installed.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any, Self

from mrcalib.io.bytestream import decompressor

__all__ = ["BLOCK", "FASTEST", "Deflater", "GzipSink", "PlainSink", "Sink", "ZipSink", "check_compression"]

BLOCK = 1 << 20
"""Bytes that are deflated as one."""
FASTEST = 1
_PARTS_WAITING = 2
_RAW = -15
_END = b"\x03\x00"  # an empty last block
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name and no time: equal data make equal files
_ZIP64 = 0xFFFFFFFF


def check_compression(level: object) -> int:
    """``level`` as an int; ValueError unless it is a whole number from 1 to 9."""
    if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= 9:
        msg = f"compression must be a whole number from 1 (fast) to 9 (small); got {level!r}."
        raise ValueError(msg)
    return level


class Deflater:
    """Raw deflate of what is written to it.

    Parameters
    ----------
    write : callable
        Takes compressed bytes.
    level : int
        1 to 9.
    n_threads : int
        Blocks that are compressed at the same time; no more than three times as many are waiting.

    Attributes
    ----------
    crc : int
        CRC-32 of the bytes so far.
    size, packed : int
        Bytes so far, and what they became.
    """

    def __init__(self, write: Callable[[bytes], object], level: int, n_threads: int) -> None:
        self.crc = self.size = self.packed = 0
        self._write = write
        self._level = level
        self._fast: Any = decompressor()
        self._rest = bytearray()
        self._waiting: deque[Future[bytes]] = deque()
        self._most = 3 * n_threads
        self._threads = ThreadPoolExecutor(n_threads) if n_threads > 1 else None

    def write(self, data: memoryview) -> None:
        """Add bytes, which must not change afterwards."""
        self.size += len(data)
        if self._rest:
            missing = BLOCK - len(self._rest)
            self._rest += data[:missing]
            data = data[missing:]
            if len(self._rest) < BLOCK:
                return
            self._add(memoryview(self._rest))
            self._rest = bytearray()
        whole = len(data) - len(data) % BLOCK
        for start in range(0, whole, BLOCK):
            self._add(data[start : start + BLOCK])
        self._rest += data[whole:]

    def finish(self) -> None:
        """Compress what is left and end the stream."""
        if self._rest:
            self._add(memoryview(self._rest))
        while self._waiting:
            self._give(self._waiting.popleft().result())
        self._give(_END)

    def close(self) -> None:
        """End the threads."""
        for future in self._waiting:
            future.cancel()
        if self._threads is not None:
            self._threads.shutdown()

    def _add(self, block: memoryview) -> None:
        self.crc = self._fast.crc32(block, self.crc)
        if self._threads is None:
            self._give(self._deflate(block))
            return
        self._waiting.append(self._threads.submit(self._deflate, block))
        while self._waiting and (len(self._waiting) > self._most or self._waiting[0].done()):
            self._give(self._waiting.popleft().result())

    def _deflate(self, block: memoryview) -> bytes:
        module = self._fast if self._level == FASTEST else zlib
        packer = module.compressobj(level=self._level, wbits=_RAW)
        packed: bytes = packer.compress(block) + packer.flush(module.Z_SYNC_FLUSH)
        return packed

    def _give(self, packed: bytes) -> None:
        self.packed += len(packed)
        self._write(packed)


class Sink:
    """Where the bytes of a file go, as a context that ends the file.

    Parameters
    ----------
    file : file
        Opened for writing without a buffer.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()

    def write(self, data: memoryview) -> None:
        """Take bytes, which must not change before the end."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write what is left."""
        raise NotImplementedError

    def close(self) -> None:
        """End the threads."""
        raise NotImplementedError

    def _all(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            left = left[self.file.write(left) :]


class PlainSink(Sink):
    """Bytes to a file as they are, by a thread of its own; what the last calls gave is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def write(self, data: memoryview) -> None:
        self._waiting.append(self._thread.submit(self._all, data))
        while len(self._waiting) > _PARTS_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        for future in self._waiting:
            future.cancel()
        self._thread.shutdown()


class GzipSink(Sink):
    """Bytes to a file as one gzip member.

    Parameters
    ----------
    file : file
        Opened for writing without a buffer.
    level : int
        1 to 9.
    n_threads : int
        Of the compression.
    """

    def __init__(self, file: IO[bytes], level: int, n_threads: int) -> None:
        super().__init__(file)
        self._begin()
        self.deflater = Deflater(self._all, level, n_threads)

    def write(self, data: memoryview) -> None:
        self.deflater.write(data)

    def finish(self) -> None:
        self.deflater.finish()
        self._end()

    def close(self) -> None:
        self.deflater.close()

    def _begin(self) -> None:
        self._all(_GZIP_HEADER)

    def _end(self) -> None:
        size = self.deflater.size & 0xFFFFFFFF
        self._all(self.deflater.crc.to_bytes(4, "little") + size.to_bytes(4, "little"))


class ZipSink(GzipSink):
    """Bytes to a file as a zip archive of one member, of any size, dated as ``numpy.savez`` dates its members: 1980.

    Parameters
    ----------
    file : file
        Opened for writing without a buffer; it is sought in.
    level : int
        1 to 9.
    n_threads : int
        Of the compression.
    name : str
        Of the member, in ASCII.
    """

    def __init__(self, file: IO[bytes], level: int, n_threads: int, name: str) -> None:
        self._name = name.encode("ascii")
        super().__init__(file, level, n_threads)

    def _begin(self) -> None:
        self._all(self._local(0, 0, 0))

    def _end(self) -> None:
        made = self.deflater
        sizes = made.crc, made.size, made.packed
        entry = self._entry(*sizes)
        start = self.file.tell()
        self._all(entry + _zip_end(start, len(entry)))
        self.file.seek(0)
        self._all(self._local(*sizes))

    def _common(self, crc: int) -> bytes:
        """The fields from "version needed" to the sizes, which are in the extra field."""
        version, flags, deflated, time, date = 45, 0, 8, 0, 0x21
        return _fields(
            (version, 2), (flags, 2), (deflated, 2), (time, 2), (date, 2), (crc, 4), (_ZIP64, 4), (_ZIP64, 4)
        )

    def _sizes(self, size: int, packed: int) -> bytes:
        return _fields((1, 2), (16, 2), (size, 8), (packed, 8))

    def _local(self, crc: int, size: int, packed: int) -> bytes:
        extra = self._sizes(size, packed)
        lengths = _fields((len(self._name), 2), (len(extra), 2))
        return b"PK\x03\x04" + self._common(crc) + lengths + self._name + extra

    def _entry(self, crc: int, size: int, packed: int) -> bytes:
        extra = self._sizes(size, packed)
        made_by, comment, disk, internal, rights, offset = (
            (45 | 3 << 8, 2),
            (0, 2),
            (0, 2),
            (0, 2),
            (0o600 << 16, 4),
            (0, 4),
        )
        lengths = _fields((len(self._name), 2), (len(extra), 2), comment, disk, internal, rights, offset)
        return b"PK\x01\x02" + _fields(made_by) + self._common(crc) + lengths + self._name + extra


def _zip_end(start: int, size: int) -> bytes:
    """What ends an archive of one entry, in the form for files of any size and in the old one."""
    one = (1, 8)
    zip64 = b"PK\x06\x06" + _fields((44, 8), (45 | 3 << 8, 2), (45, 2), (0, 4), (0, 4), one, one, (size, 8), (start, 8))
    locator = b"PK\x06\x07" + _fields((0, 4), (start + size, 8), (1, 4))
    old = b"PK\x05\x06" + _fields((0, 2), (0, 2), (1, 2), (1, 2), (size, 4), (min(start, _ZIP64), 4), (0, 2))
    return zip64 + locator + old


def _fields(*values: tuple[int, int]) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value, size in values)
