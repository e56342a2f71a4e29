"""PNG files independent of the compressor: pixels are stored, not compressed."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_STORED = 65535  # limit of bytes in a stored deflate block


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(image: np.ndarray) -> bytes:
    """Encode an RGB image, uint8 [H, W, 3], as PNG (RFC 2083 with RFC 1951's stored blocks)."""
    height, width, _ = image.shape
    # Every row begins with its filter type, 0: none.
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = image.reshape(height, 3 * width)
    raw = rows.tobytes()
    blocks = [raw[i : i + _STORED] for i in range(0, len(raw), _STORED)]
    stored = b"".join(
        struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks)
    )
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))),
            _chunk(b"IEND", b""),
        )
    )
