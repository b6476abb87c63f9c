"""Real images with labels: digits of scikit-learn, MNIST and CIFAR-10 read from their official files.

Every file is checked before its content is used: size and header always, the published checksum where there
is one. Nothing is downloaded, and no pickle is executed freely.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from cgro.experiment import UserError

ImageName = Literal["digits", "mnist", "cifar10"]
TRAINING_IMAGES: dict[str, int] = {"digits": 1201, "mnist": 60_000, "cifar10": 50_000}
"""How many training images each data set has."""

CIFAR10_BATCH = 10_000
"""Images in each official CIFAR-10 file."""

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
}
"""Published checksums by file name. Other files have sizes and headers to be checked by."""


@dataclass(frozen=True)
class ImageData:
    """Training and test images, as stored: pixels / `white` lies in [0, 1].

    Shapes: images uint8 (N, C, S, S), labels int64 (N,) in 0..classes - 1.
    """

    name: str
    classes: int
    white: int
    """Value of a white pixel: 255, or 16 for digits."""
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    test_name: str
    """What to call the test images in print, e.g. 'test images' or 'first 1,017 test images'."""


def load_images(name: str, folder: str | os.PathLike[str] | None = None) -> ImageData:
    """The data set `name`, one of 'digits', 'mnist' and 'cifar10'.

    `folder` (default: the environment variable CGRO_DATA) holds official files under their official names:
    MNIST `*-ubyte.gz`, or unpacked, in the folder itself or in its `mnist` or `MNIST/raw`; CIFAR-10 as
    `cifar-10-batches-bin` or `cifar-10-batches-py`. If `test_batch.bin` is not there, its beginning is taken,
    a file `test_batch_head<count>.bin`.

    Digits come with scikit-learn. They have no official split for these 1,797 images; here, within each class
    and in the order of the file, every third image is a test image: 1,201 for training, 596 for testing.

    Raises: UserError for an unknown name, and for a missing, truncated or altered file, which it names.
    """
    if name not in get_args(ImageName):
        raise UserError(f"data is {name!r}: allowed are {', '.join(get_args(ImageName))}; choose one of them")
    if name == "digits":
        return _digits()
    folder = folder if folder is not None else os.environ.get("CGRO_DATA")
    if not folder:
        raise UserError(f"{name} is read from a folder: set CGRO_DATA to the one with its official files")
    return _mnist(Path(folder)) if name == "mnist" else _cifar10(Path(folder))


def stratified_subset(labels: Tensor, count: int, seed: int | np.random.SeedSequence) -> Tensor:
    """Indices (count,) of a random subset in which each class keeps its share, to within one sample.

    Subsets of one seed are nested: the first indices of a larger subset are the smaller one.

    Raises: UserError unless 1 <= count <= number of labels.
    """
    if not 1 <= count <= len(labels):
        raise UserError(f"samples is {count}: allowed are 1 to {len(labels)}; ask for fewer samples")
    rng = np.random.default_rng(seed)
    y = labels.cpu().numpy()
    # Each class is spread evenly over (0, 1) in random order; equal positions are ordered at random.
    position = np.empty(len(y))
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(np.lexsort((rng.random(len(y)), position))[:count].astype(np.int64))


def _digits() -> ImageData:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        test[(labels == label).nonzero()[2::3, 0]] = True
    return ImageData("digits", 10, 16, images[~test], labels[~test], images[test], labels[test], "test images")


def _mnist(folder: Path) -> ImageData:
    stem = "train-images-idx3-ubyte"
    places = (folder, folder / "mnist", folder / "MNIST" / "raw")
    place = next((p for p in places if (p / stem).exists() or (p / f"{stem}.gz").exists()), None)
    if place is None:
        raise UserError(f"{folder}: no {stem}.gz in it or in its mnist; put the four official MNIST files there")
    train, test = (_mnist_part(place, part, count) for part, count in (("train", 60_000), ("t10k", 10_000)))
    return ImageData("mnist", 10, 255, *train, *test, "test images")


def _mnist_part(place: Path, part: str, count: int) -> tuple[Tensor, Tensor]:
    images = _idx(place, f"{part}-images-idx3-ubyte", (count, 28, 28))
    stem = f"{part}-labels-idx1-ubyte"
    return images[:, None], _labels(place / stem, _idx(place, stem, (count,)))


def _idx(place: Path, stem: str, shape: tuple[int, ...]) -> Tensor:
    """Content of an idx file of bytes: magic number 0x0800 + ndim, big-endian dims, values."""
    path = place / stem if (place / stem).exists() else place / f"{stem}.gz"
    header = b"".join(n.to_bytes(4, "big") for n in (0x0800 + len(shape), *shape))
    content = _read(path, len(header) + math.prod(shape))
    if not content.startswith(header):
        raise UserError(f"{path}: header is {content[: len(header)].hex()}, expected {header.hex()}; {_REPLACE}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy())


def _cifar10(folder: Path) -> ImageData:
    for place, first in (
        ("cifar-10-batches-bin", "data_batch_1.bin"),
        ("cifar-10-batches-py", "data_batch_1"),
    ):
        path = folder if (folder / first).exists() else folder / place
        if (path / first).exists():
            break
    else:
        raise UserError(f"{folder}: no cifar-10-batches-bin or cifar-10-batches-py in it; unpack CIFAR-10 there")
    binary = first.endswith(".bin")
    read, end = (_cifar10_records, ".bin") if binary else (_cifar10_pickle, "")
    batches = [read(path / f"data_batch_{i}{end}", CIFAR10_BATCH) for i in range(1, 6)]
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    heads = sorted(path.glob("test_batch_head[1-9]*.bin")) if not (path / "test_batch.bin").exists() else []
    if binary and heads:
        count = int("".join(c for c in heads[-1].stem if c.isdigit()) or 0)
        return ImageData("cifar10", 10, 255, images, labels, *read(heads[-1], count), f"first {count:,} test images")
    test = read(path / f"test_batch{end}", CIFAR10_BATCH)
    return ImageData("cifar10", 10, 255, images, labels, *test, "test images")


def _cifar10_records(path: Path, count: int) -> tuple[Tensor, Tensor]:
    """Records of 1 + 3072 bytes: label, then the red, green and blue planes of 32x32 pixels."""
    records = np.frombuffer(_read(path, 3073 * count), np.uint8).reshape(count, 3073)
    images = torch.from_numpy(records[:, 1:].reshape(count, 3, 32, 32).copy())
    return images, _labels(path, torch.from_numpy(records[:, 0].copy()))


def _cifar10_pickle(path: Path, count: int) -> tuple[Tensor, Tensor]:
    try:
        content = _ArrayUnpickler(io.BytesIO(_read(path)), encoding="latin1").load()
        found = {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
        images = np.frombuffer(found["data"].values, np.uint8).reshape(count, 3, 32, 32)
        labels = np.array(found["labels"], dtype=np.uint8).reshape(count)
    except UserError:
        raise
    except Exception as error:  # A damaged pickle can raise anything.
        raise UserError(f"{path}: not a CIFAR-10 batch of {count} images ({error}); {_REPLACE}") from error
    return torch.from_numpy(images.copy()), _labels(path, torch.from_numpy(labels))


class _Bytes:
    """What a pickled uint8 array becomes: its values, and nothing that can be called."""

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
        """Byte order and the like, which a byte does not have."""


class _ArrayUnpickler(pickle.Unpickler):
    """Admits builtin containers, numbers, strings and uint8 arrays; runs no code that a file names."""

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


_REPLACE = "replace it by the official file"


def _read(path: Path, size: int | None = None) -> bytes:
    """Content of a file, unpacked if its name ends in .gz; `size` in bytes is required of it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); put the official file there") from error
    algorithm, _, expected = CHECKSUMS.get(path.name, "").partition(":")
    checksum_ok = not expected or hashlib.new(algorithm, raw).hexdigest() == expected
    if path.suffix == ".gz":
        try:
            with gzip.open(io.BytesIO(raw)) as stream:
                # One byte more than needed tells a longer file, without unpacking all of it.
                raw = stream.read(-1 if size is None else size + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged or truncated gzip ({error}); {_REPLACE}") from error
    if size is not None and len(raw) != size:
        found = f"more than {size:,}" if len(raw) > size else f"{len(raw):,}"
        raise UserError(f"{path}: holds {found} bytes, expected {size:,}; {_REPLACE}")
    if not checksum_ok:
        raise UserError(f"{path}: altered, its {algorithm} is not the published {expected}; {_REPLACE}")
    return raw


def _labels(path: Path, labels: Tensor) -> Tensor:
    if int(labels.max()) > 9:
        raise UserError(f"{path}: holds the label {int(labels.max())}, expected 0 to 9; {_REPLACE}")
    return labels.long()
