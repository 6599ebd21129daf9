"""IDX, the file format of the MNIST family: a header, then one array.

Two zero bytes, a byte for the element type, a byte for the number of axes, a big-endian uint32 for each
axis, and the elements in big-endian row-major order; often inside gzip.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
REMEDY = "the copy or download was damaged or cut short; fetch the file again"


def read_idx(path: str | Path, ndim: int | None = None, dtype: DTypeLike | None = None) -> np.ndarray:
    """Read an IDX file, gzip or not (told by its content, not its name).

    ndim, dtype: what the file must hold; None takes what comes.

    Returns a read-only array of the file's shape, in native byte order. Raises ValueError that names the
    file, what was expected and what was found, if it is not a whole IDX file or holds something else.
    """
    content = _content(Path(path))
    if len(content) < 4:
        raise ValueError(f"{path}: not an IDX file: {len(content)} bytes are too few for a header; {REMEDY}")
    magic, axes = content[:4].hex(), content[3]
    if content[:2] != b"\0\0" or content[2] not in TYPES:
        raise ValueError(
            f"{path}: not an IDX file: its magic number is 0x{magic}, expected 0x0000, then an "
            f"element type ({', '.join(f'0x{t:02x}' for t in TYPES)}), then the number of axes"
        )
    stored = np.dtype(TYPES[content[2]])
    native = stored.newbyteorder("=")
    wanted = native if dtype is None else np.dtype(dtype), axes if ndim is None else ndim
    if wanted != (native, axes):
        raise ValueError(
            f"{path}: expected {wanted[0]} with {wanted[1]} axes, but the magic number "
            f"0x{magic} says {native} with {axes}; is the file under a wrong name?"
        )
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(f"{path}: truncated in its header, {len(content)} of {start} bytes; {REMEDY}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, offset=4))
    expected = start + math.prod(shape) * stored.itemsize
    if len(content) != expected:
        kind = "truncated" if len(content) < expected else "longer than its header says"
        raise ValueError(
            f"{path}: {kind}: shape {shape} of {native} makes {expected} bytes with the "
            f"header, found {len(content)}; {REMEDY}"
        )
    return np.frombuffer(content, stored, offset=start).reshape(shape).astype(native, copy=False)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise ValueError(
            f"{path}: truncated: the gzip stream ends early after {len(content)} bytes; {REMEDY}"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: corrupted gzip file ({error}); {REMEDY}") from error
