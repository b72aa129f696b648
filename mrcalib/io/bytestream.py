"""The bytes of a file or of a member of a zip archive, in order and inflated on the way, through a small window.

Deflate is undone by Intel's ISA-L where the package ``isal`` is installed, else by zlib: the same bytes, CRCs checked.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zipfile
import zlib
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

__all__ = ["ByteStream", "FileBytes", "InflatedBytes", "decompressor", "member_bytes"]

_READ = 1 << 17
"""Compressed bytes that are read at a time."""
_INFLATE = 1 << 18
"""Bytes that are inflated at a time where they must be copied."""
_GZIP = 31
_MAGIC = b"\x1f\x8b"


def decompressor() -> ModuleType:
    """``isal.isal_zlib`` if it is installed, else ``zlib``; the bytes are the same."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    module: ModuleType = isal_zlib
    return module


class ByteStream:
    """Bytes in order. Subclasses say how the next ones come."""

    def fill(self, view: memoryview) -> None:
        """Fill ``view``, of bytes, with the next ones.

        Raises
        ------
        EOFError
            If there are fewer.
        OSError, zlib.error
            If the file cannot be read or is damaged.
        """
        raise NotImplementedError

    def skip(self, n_bytes: int) -> None:
        """Pass over the next bytes; they are read where a checksum covers them."""
        scratch = memoryview(bytearray(min(n_bytes, _INFLATE)))
        while n_bytes > 0:
            part = scratch[: min(n_bytes, len(scratch))]
            self.fill(part)
            n_bytes -= len(part)

    def read(self, n_bytes: int) -> bytes:
        """The next bytes; EOFError if there are fewer."""
        found = bytearray(n_bytes)
        self.fill(memoryview(found))
        return bytes(found)

    def finish(self) -> None:
        """Check what can be checked only at the end: that the compressed data end, and their CRC."""

    def digest(self) -> bytes | None:
        """SHA-256 of the whole file, read to its end; None where it was not asked for."""
        return None

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FileBytes(ByteStream):
    """The bytes of a file as they are.

    Parameters
    ----------
    path : Path
        The file.
    digest : bool
        Whether SHA-256 of the file is taken on the way; then nothing is left out.
    """

    def __init__(self, path: Path, *, digest: bool = False) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._hash = hashlib.sha256() if digest else None

    def readinto(self, view: Any) -> int:
        """Fill as much of ``view`` as one call of the system gives; 0 at the end of the file."""
        n_bytes = self._file.readinto(view) or 0
        if self._hash is not None:
            self._hash.update(memoryview(view)[:n_bytes])
        return n_bytes

    def fill(self, view: memoryview) -> None:
        wanted = len(view)
        while len(view):
            n_bytes = self.readinto(view)
            if not n_bytes:
                msg = f"the file ends {len(view)} bytes early, {wanted - len(view)} of {wanted} bytes were there"
                raise EOFError(msg)
            view = view[n_bytes:]

    def skip(self, n_bytes: int) -> None:
        if self._hash is None:
            self._file.seek(n_bytes, 1)
        else:
            super().skip(n_bytes)

    def require(self, n_bytes: int) -> None:
        """Refuse a file that has fewer bytes left, before any of them is read or left out."""
        left = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if left < n_bytes:
            msg = f"the file ends {n_bytes - left} bytes early, {left} of {n_bytes} bytes of voxels are there"
            raise EOFError(msg)

    @property
    def sees_all(self) -> bool:
        """Whether every byte must pass, so that leaving some out saves nothing."""
        return self._hash is not None

    def digest(self) -> bytes | None:
        if self._hash is None:
            return None
        rest = memoryview(bytearray(_READ))
        while self.readinto(rest):
            pass
        return self._hash.digest()

    def close(self) -> None:
        self._file.close()


class InflatedBytes(ByteStream):
    """What gzip members, one after another, or the deflated member of a zip archive inflate to.

    Parameters
    ----------
    file : FileBytes
        At the first compressed byte.
    member : zipfile.ZipInfo or None
        What the archive says of its member; its CRC is checked as gzip's is. None: gzip.
    """

    def __init__(self, file: FileBytes, member: zipfile.ZipInfo | None = None) -> None:
        self._file = file
        compressed: Any = file if member is None else _AsGzip(file, member)
        self._reader = _reader(compressed)
        self._error: type[Exception] = decompressor().error

    def fill(self, view: memoryview) -> None:
        while len(view):
            n_bytes = self._inflate(view)
            if not n_bytes:
                msg = "the compressed data end before the voxels do"
                raise EOFError(msg)
            view = view[n_bytes:]

    def finish(self) -> None:
        rest = memoryview(bytearray(_INFLATE))
        while self._inflate(rest):
            pass

    def _inflate(self, view: memoryview) -> int:
        try:
            n_bytes: int = self._reader.readinto(view)
        except self._error as error:
            raise zlib.error(str(error)) from error
        return n_bytes

    def digest(self) -> bytes | None:
        return self._file.digest()

    def close(self) -> None:
        self._file.close()


def _reader(compressed: Any) -> Any:
    """What fills buffers with inflated bytes: ISA-L's reader, which needs no copy, or zlib."""
    reader = getattr(decompressor(), "_GzipReader", None)
    return _ZlibReader(compressed) if reader is None else reader(compressed, _READ)


class _AsGzip:
    """A deflated member of a zip archive, read as the gzip file it would be: what differs is the header and the trailer."""

    def __init__(self, file: FileBytes, member: zipfile.ZipInfo) -> None:
        self._file, self._left = file, member.compress_size
        self._head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
        self._tail = struct.pack("<II", member.CRC, member.file_size & 0xFFFFFFFF)

    def read(self, size: int) -> bytes:
        """As a file's, by which readers know one."""
        found = bytearray(size)
        return bytes(found[: self.readinto(found)])

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._head:
            view[: len(self._head)] = self._head
            n_bytes, self._head = len(self._head), b""
            return n_bytes
        if self._left:
            n_bytes = self._file.readinto(view[: self._left])
            self._left -= n_bytes
            return n_bytes
        n_bytes = min(len(view), len(self._tail))
        view[:n_bytes], self._tail = self._tail[:n_bytes], self._tail[n_bytes:]
        return n_bytes


class _ZlibReader:
    """Gzip members inflated by zlib, in pieces that are copied while the processor's cache still has them."""

    def __init__(self, compressed: Any) -> None:
        self._compressed = compressed
        self._inflater = zlib.decompressobj(wbits=_GZIP)
        self._input = memoryview(bytearray(_READ))
        self._waiting: bytes | memoryview = b""

    def readinto(self, view: memoryview) -> int:
        """Fill some of ``view``; 0 at the end of the last member."""
        while True:
            if self._inflater.eof and not self._next_member():
                return 0
            if not len(self._waiting):
                self._waiting = self._input[: self._compressed.readinto(self._input)]
            ended = not len(self._waiting)
            part = self._inflater.decompress(self._waiting, min(len(view), _INFLATE))
            self._waiting = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if part:
                view[: len(part)] = part
                return len(part)
            if ended and not self._inflater.eof:
                msg = "Compressed file ended before the end-of-stream marker was reached"
                raise EOFError(msg)

    def _next_member(self) -> bool:
        """Begin the next member, if there is one; zeros between members are padding."""
        rest = bytes(self._waiting).lstrip(b"\0")
        while not rest:
            n_bytes = self._compressed.readinto(self._input)
            if not n_bytes:
                return False
            rest = bytes(self._input[:n_bytes]).lstrip(b"\0")
        if rest[:1] != _MAGIC[:1]:
            msg = f"Not a gzipped file ({rest[:2]!r})"
            raise gzip.BadGzipFile(msg)
        self._inflater, self._waiting = zlib.decompressobj(wbits=_GZIP), rest
        return True


class _StoredBytes(ByteStream):
    """A member of a zip archive that was stored without compression; its CRC is checked all the same."""

    def __init__(self, file: FileBytes, size: int, crc: int) -> None:
        self._file, self._left, self._crc, self._seen = file, size, crc, 0
        self._zlib: Any = decompressor()

    def fill(self, view: memoryview) -> None:
        if len(view) > self._left:
            msg = "the member of the archive ends before the voxels do"
            raise EOFError(msg)
        self._file.fill(view)
        self._left -= len(view)
        self._seen = self._zlib.crc32(view, self._seen)

    def finish(self) -> None:
        self.skip(self._left)
        if self._seen != self._crc:
            msg = f"Bad CRC-32: {self._seen:08x} where {self._crc:08x} is stated"
            raise zipfile.BadZipFile(msg)

    def digest(self) -> bytes | None:
        return self._file.digest()

    def close(self) -> None:
        self._file.close()


def member_bytes(path: Path, member: zipfile.ZipInfo, *, digest: bool = False) -> ByteStream:
    """The bytes of a member of a zip archive.

    Raises
    ------
    zipfile.BadZipFile
        If the archive's directory does not fit the file, or the member is encrypted or compressed otherwise than by
        deflate.
    EOFError
        If the file ends early.
    """
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        msg = f"the member {member.filename!r} is encrypted, or compressed otherwise than by deflate"
        raise zipfile.BadZipFile(msg)
    file = FileBytes(path, digest=digest)
    try:
        file.skip(member.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            msg = f"Bad magic number for the member {member.filename!r}"
            raise zipfile.BadZipFile(msg)
        file.skip(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"))
        if member.compress_type == zipfile.ZIP_STORED:
            return _StoredBytes(file, member.file_size, member.CRC)
        return InflatedBytes(file, member)
    except BaseException:
        file.close()
        raise
