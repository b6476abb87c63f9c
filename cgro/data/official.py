"""The official files of MNIST, CIFAR-10 and CIFAR-100, read without conversion.

Every file is checked before use: its size and header always, its published checksum if there is one. Pickles are read
by a restricted reader that executes no code of the file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgro.base.errors import UserError

_STEM = "train-images-idx3-ubyte"
CIFAR10_BATCH = 10_000
"""Images in each official CIFAR-10 file."""
CIFAR100_SIZES = {"train": 50_000, "test": 10_000}
"""Images in the official CIFAR-100 files."""

CHECKSUMS = {
    # MNIST, packed and unpacked.
    "train-images-idx3-ubyte.gz": "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "train-images-idx3-ubyte": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    # CIFAR-10 for Python; its authors publish md5 only.
    "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
    "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
    "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "md5:40351d587109b95175f43aff81a1287e",
    # CIFAR-100 for Python.
    "train": "md5:16019d7e3df5f24257cddd939b257f8d",
    "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
}
"""Published checksums by file name. Other files are checked by size and header."""


Part = tuple[Tensor, Tensor]
"""Images uint8 (N, C, S, S) and labels int64 (N,)."""

# Folders relative to the data folder, and a file whose presence shows that the data set is there.
MNIST_PLACES = [(p, f) for p in ("", "mnist", "MNIST/raw") for f in (f"{_STEM}.gz", _STEM)]
CIFAR10_PLACES = [
    (p, f)
    for where, f in (("cifar-10-batches-bin", "data_batch_1.bin"), ("cifar-10-batches-py", "data_batch_1"))
    for p in ("", where)
]
CIFAR100_PLACES = [(p, "train") for p in ("cifar-100-python", "")]


def _place(folder: Path, places: list[tuple[str, str]]) -> Path | None:
    """The first place that exists."""
    return next((folder / place for place, first in places if (folder / place / first).is_file()), None)


def is_there(name: str, folder: Path) -> bool:
    """Whether the folder holds the data set, or a part of it, in one of its official layouts."""
    places = {"mnist": MNIST_PLACES, "cifar10": CIFAR10_PLACES, "cifar100": CIFAR100_PLACES}
    return _place(folder, places[name]) is not None


def mnist(folder: Path) -> tuple[Part, Part]:
    """Training and test part."""
    place = _place(folder, MNIST_PLACES)
    assert place is not None
    train, test = (_mnist_part(place, part, count) for part, count in (("train", 60_000), ("t10k", 10_000)))
    return train, test


def _mnist_part(place: Path, part: str, count: int) -> Part:
    images = _idx(place, f"{part}-images-idx3-ubyte", (count, 28, 28))
    stem = f"{part}-labels-idx1-ubyte"
    return images[:, None], _labels(_packed_or_not(place, stem), _idx(place, stem, (count,)))


def _packed_or_not(place: Path, stem: str) -> Path:
    return place / stem if (place / stem).exists() else place / f"{stem}.gz"


def _idx(place: Path, stem: str, shape: tuple[int, ...]) -> Tensor:
    """Content of an idx file of bytes: magic number 0x0800 + ndim, big-endian dims, values."""
    path = _packed_or_not(place, stem)
    header = b"".join(n.to_bytes(4, "big") for n in (0x0800 + len(shape), *shape))
    content = _read(path, len(header) + math.prod(shape))
    if not content.startswith(header):
        raise UserError(f"{path}: header is {content[: len(header)].hex()}, expected {header.hex()}; {_replace(path)}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy())


def cifar10(folder: Path) -> tuple[Part, Part, str]:
    """Training part, test part, and a name for the test images: all of them, or the first ones if only they exist."""
    place, read, end = _cifar10_files(folder)
    batches = [read(place / f"data_batch_{i}{end}", CIFAR10_BATCH) for i in range(1, 6)]
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    return (images, labels), *cifar10_test(folder)


def cifar10_test(folder: Path) -> tuple[Part, str]:
    """The test part and its name."""
    place, read, end = _cifar10_files(folder)
    heads = sorted(place.glob("test_batch_head[1-9]*.bin")) if not (place / "test_batch.bin").exists() else []
    if end and heads:
        count = int("".join(c for c in heads[-1].stem if c.isdigit()) or 0)
        return read(heads[-1], count), f"first {count:,} test images"
    return read(place / f"test_batch{end}", CIFAR10_BATCH), "test images"


def _cifar10_files(folder: Path) -> tuple[Path, Callable[[Path, int], Part], str]:
    """Folder of the files, reader of one file, and the ending of their names."""
    place = _place(folder, CIFAR10_PLACES)
    assert place is not None
    return (place, _cifar10_records, ".bin") if (place / "data_batch_1.bin").exists() else (place, _cifar10_pickle, "")


def cifar100(folder: Path) -> tuple[Part, Part]:
    """Training and test part with the 100 fine labels."""
    place = _place(folder, CIFAR100_PLACES)
    assert place is not None
    train, test = (_pickled(place / name, count, "fine_labels", 100) for name, count in CIFAR100_SIZES.items())
    return train, test


def _cifar10_records(path: Path, count: int) -> Part:
    """Records of 1 + 3072 bytes: label, then the red, green and blue planes of 32x32 pixels."""
    records = np.frombuffer(_read(path, 3073 * count), np.uint8).reshape(count, 3073)
    images = torch.from_numpy(records[:, 1:].reshape(count, 3, 32, 32).copy())
    return images, _labels(path, torch.from_numpy(records[:, 0].copy()))


def _cifar10_pickle(path: Path, count: int) -> Part:
    return _pickled(path, count, "labels", 10)


def _pickled(path: Path, count: int, key: str, classes: int) -> Part:
    """Images of a batch for Python, and the labels under `key`."""
    try:
        content = _ArrayUnpickler(io.BytesIO(_read(path)), encoding="latin1").load()
        found = {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
        images = np.frombuffer(found["data"].values, np.uint8).reshape(count, 3, 32, 32)
        labels = np.array(found[key])
        if labels.dtype.kind not in "iu":  # numpy would round others
            raise ValueError(f"labels are of type {labels.dtype}")
        labels = labels.astype(np.int64).reshape(count)
    except UserError:
        raise
    except Exception as error:  # A damaged pickle may raise any exception.
        raise UserError(f"{path}: not a CIFAR-{classes} batch of {count} images ({error}); {_replace(path)}") from error
    return torch.from_numpy(images.copy()), _labels(path, torch.from_numpy(labels), classes)


class _Bytes:
    """Stand-in for a pickled uint8 array: values only, nothing callable."""

    values = b""

    def __setstate__(self, state: Any) -> None:
        _version, _shape, dtype, fortran, values = state
        if not isinstance(dtype, _UInt8) or fortran:
            raise ValueError("array is not of uint8 in C order")
        self.values = values.encode("latin1") if isinstance(values, str) else bytes(values)


class _UInt8:
    def __init__(self, code: str | bytes, *_flags: Any) -> None:
        if code not in ("u1", b"u1"):
            raise ValueError(f"array of type {code!r} instead of uint8")

    def __setstate__(self, state: Any) -> None:
        """Accept and ignore the state, such as byte order, which is meaningless for bytes."""


class _ArrayUnpickler(pickle.Unpickler):
    """Accepts builtin containers, numbers, strings and uint8 arrays only; never runs code named by a file."""

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): _UInt8,
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Bytes(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Bytes(),
            # How Python 3 writes bytes into the old protocol.
            ("_codecs", "encode"): lambda text, _encoding: text.encode("latin1"),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image needs")
        return allowed[module, name]


_LARGEST = 2**30
"""Largest size that is read, in bytes; the largest official file has 162 million."""


def _replace(path: Path) -> str:
    """What to do with a damaged file."""
    algorithm, _, digest = CHECKSUMS.get(path.name, "").partition(":")
    return f"replace it by the official file{f', whose {algorithm} is {digest}' if digest else ''}"


def _read(path: Path, size: int | None = None) -> bytes:
    """Content of a file, unpacked if its name ends in .gz; it must have `size` bytes."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: larger than any official file; {_replace(path)}")
        raw = path.read_bytes()
    except OSError as error:
        what = _replace(path).replace("replace it by", "put there")
        raise UserError(f"{path}: cannot be read ({error.strerror}); {what}") from error
    algorithm, _, expected = CHECKSUMS.get(path.name, "").partition(":")
    checksum_ok = not expected or hashlib.new(algorithm, raw).hexdigest() == expected
    if path.suffix == ".gz":
        try:
            with gzip.open(io.BytesIO(raw)) as stream:
                # Reading one byte more than needed detects a longer file without unpacking all of it.
                raw = stream.read(-1 if size is None else size + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged or truncated gzip ({error}); {_replace(path)}") from error
    if size is not None and len(raw) != size:
        found = f"more than {size:,}" if len(raw) > size else f"{len(raw):,}"
        raise UserError(f"{path}: holds {found} bytes, expected {size:,}; {_replace(path)}")
    if not checksum_ok:
        raise UserError(f"{path}: altered, its {algorithm} is not the published one; {_replace(path)}")
    return raw


def _labels(path: Path, labels: Tensor, classes: int = 10) -> Tensor:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise UserError(f"{path}: holds the label {int(wrong.max())}, expected 0 to {classes - 1}; {_replace(path)}")
    return labels.long()
