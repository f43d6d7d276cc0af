"""Number formats and safetensors input/output shared by the oracle tools. Only numpy is needed.

Formats (spec section 9.1): E4M3FN, E2M1 (two codes per byte, even element in the low nibble), UE8M0 scales, BF16.
`Checkpoint` reads a DeepSeek-V4 directory in the official layout (spec section 10) and dequantises single tensors
to float32. FP8 and FP4 with UE8M0 scales dequantise exactly; an FP8 block with an F32 scale is one float32 product.
"""

import json
import mmap
import os

import numpy as np

E2M1_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
FP8_BLOCK = 128  # rows and columns that share one FP8 scale
FP4_GROUP = 32  # columns that share one FP4 scale

DTYPE_BYTES = {"F32": 4, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1}
_STORAGE = {
    "F32": np.float32,
    "BF16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I8": np.uint8,
    "F8_E4M3": np.uint8,
    "F8_E8M0": np.uint8,
}


def e4m3_values():
    """Value of each of the 256 E4M3FN bytes; the two NaN codes give NaN."""
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent, mantissa = (code >> 3) & 15, code & 7
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude = np.where((code & 0x7F) == 0x7F, np.nan, magnitude)
    return (sign * magnitude).astype(np.float32)


E4M3_VALUES = e4m3_values()


def bf16_bits(x):
    """float32 to the 16 bits of BF16, round to nearest even. Finite input only."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def bf16_from_bits(bits):
    """The float32 values of BF16 bit patterns (exact)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def ue8m0_values(codes):
    """2^(code - 127); code 255 is NaN. Code 0 is 2^-127, a float32 subnormal."""
    value = np.exp2(codes.astype(np.float64) - 127).astype(np.float32)
    return np.where(codes == 255, np.float32(np.nan), value)


def prompt_ids(vocab_size, tokens, seed):
    """A seeded prompt: id 0 (BOS), then uniform ids that are neither BOS nor EOS. int32 [tokens]."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ids = rng.integers(2, vocab_size, tokens)
    ids[0] = 0
    return ids.astype("<i4")


class SafetensorsWriter:
    """Writes one safetensors file: tensors are declared first, then produced and streamed in that order."""

    def __init__(self, path):
        self.path = path
        self.tensors = []

    def add(self, name, dtype, shape, produce):
        """`produce()` returns the storage array; it is called once, when the file is written."""
        self.tensors.append((name, dtype, tuple(int(n) for n in shape), produce))

    def write(self):
        """Writes the file and returns its payload in bytes."""
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name, dtype, shape, _ in self.tensors:
            size = int(np.prod(shape, dtype=np.int64)) * DTYPE_BYTES[dtype]
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        with open(self.path, "wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for name, dtype, shape, produce in self.tensors:
                array = np.ascontiguousarray(produce())
                expected = int(np.prod(shape, dtype=np.int64)) * DTYPE_BYTES[dtype]
                if array.nbytes != expected:
                    raise ValueError(f"{name}: produced {array.nbytes} bytes, declared {dtype} {shape} = {expected}")
                array.tofile(file)
        return offset


class Checkpoint:
    """A checkpoint directory: `config` is config.json, tensors are mapped and dequantised one at a time."""

    def __init__(self, directory):
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)
        self._tensors = {}
        for name in sorted(f for f in os.listdir(directory) if f.endswith(".safetensors")):
            with open(os.path.join(directory, name), "rb") as file:
                header_bytes = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(header_bytes))
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            header.pop("__metadata__", None)
            for tensor, entry in header.items():
                start = 8 + header_bytes + entry["data_offsets"][0]
                self._tensors[tensor] = (entry["dtype"], tuple(entry["shape"]), mapped, start)

    def names(self):
        return list(self._tensors)

    def dtype(self, name):
        """The stored dtype, or None when the checkpoint has no such tensor."""
        return self._tensors[name][0] if name in self._tensors else None

    def shape(self, name):
        return self._tensors[name][1]

    def storage(self, name):
        """The tensor as stored (BF16 as uint16, FP8/FP4/UE8M0 as uint8)."""
        dtype, shape, mapped, start = self._tensors[name]
        return np.frombuffer(mapped, _STORAGE[dtype], int(np.prod(shape)), start).reshape(shape)

    def f32(self, name):
        """The tensor dequantised to float32; FP4 comes back with its logical number of columns."""
        dtype, stored = self.dtype(name), self.storage(name)
        if dtype == "F32":
            return stored
        if dtype == "BF16":
            return bf16_from_bits(stored)
        if dtype not in ("F8_E4M3", "I8"):
            raise ValueError(f"{name}: {dtype} is no floating-point tensor")
        scale_name = name.removesuffix(".weight") + ".scale"
        scale = self.storage(scale_name)
        if self.dtype(scale_name) == "F8_E8M0":
            scale = ue8m0_values(scale)
        rows = stored.shape[0]
        if dtype == "F8_E4M3":
            scale = scale.repeat(FP8_BLOCK, 0)[:rows].repeat(FP8_BLOCK, 1)[:, : stored.shape[1]]
            return E4M3_VALUES[stored] * scale
        values = np.empty((rows, stored.shape[1] * 2), np.float32)
        values[:, 0::2], values[:, 1::2] = E2M1_VALUES[stored & 15], E2M1_VALUES[stored >> 4]
        return (values.reshape(rows, -1, FP4_GROUP) * scale[:, :, None]).reshape(values.shape)
