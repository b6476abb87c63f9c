"""A user's own labelled images, from an .npz archive of arrays or from a folder with a subfolder for each class.

An archive holds `images` and `labels`, and optionally `test_images` and `test_labels`. Images are uint8, or floats in
[0, 1], of shape (N, H, W), (N, H, W, C) or (N, C, H, W), with C 1 or 3. The channels are the last dimension if it is 1
or 3, and otherwise the second one: (N, 3, 3, 3) is read as (N, H, W, C). Labels are integers, renumbered in increasing
order.

A folder holds image files in a subfolder for each class, or in such subfolders of `train` and, optionally, `test`.
Classes are numbered, and images ordered, by their names. Images in grey stay grey if all of them are.

A name PATH@DIGEST (see `cgro.data.recorded`) names the content, too. No pickle is ever read.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.data.images import ImageData
from cgro.data.recorded import digest, require_unchanged, split

ACCEPTED = "give an .npz file with the arrays images and labels, or a folder with a subfolder of images for each class"
_PARTS = ("train", "test")
_GREY = ("1", "L")
_COLOUR = ("RGB", "RGBA", "LA", "P", "PA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class UserImages:
    """Labelled images with their names."""

    data: ImageData
    classes: tuple[str, ...]
    """Name of each class, in the order of the labels."""
    files: tuple[str, ...]
    """File of each training image, relative to the folder; empty for an archive."""
    recorded: str
    """PATH@DIGEST, with an absolute path."""
    notes: tuple[str, ...]
    """What was there but not read, in words."""


def read_user_images(name: str) -> UserImages:
    """The images of an archive or a folder; `name` is a path, or PATH@DIGEST, whose content must be the same.

    Raises: UserError, one line with the path, for files that cannot be read or changed, arrays that are missing or do
    not go together, pixels outside [0, 1], images of several sizes, and fewer than two classes.
    """
    path, known = split(name)
    try:
        place = Path(path).absolute()
        if place.is_dir():
            found = _from_folder(place)
        elif place.is_file():
            found = _from_archive(place)
        else:
            raise UserError(f"no such file or folder; {ACCEPTED}")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); {ACCEPTED}") from error
    require_unchanged(path, known, found.recorded.rpartition("@")[2], "restore it, or run again for the new content")
    return found


# Archives


def _from_archive(path: Path) -> UserImages:
    content = path.read_bytes()
    arrays = _arrays(content)
    optional = ("test_images", "test_labels")
    for name in ("images", "labels", *(optional if set(optional) & set(arrays) else ())):
        if name not in arrays:
            raise UserError(f"must have an array {name}, got {', '.join(sorted(arrays)) or 'none'}; {ACCEPTED}")
    images, labels = _pair("images", arrays["images"], "labels", arrays["labels"])
    names, labels = np.unique(labels, return_inverse=True)
    test_images, test_labels = images[:0], labels[:0]
    if "test_images" in arrays and len(arrays["test_images"]):
        test_images, given = _pair("test_images", arrays["test_images"], "test_labels", arrays["test_labels"])
        unknown = np.setdiff1d(given, names)
        if len(unknown):
            raise UserError(f"test_labels must be among the labels, got {unknown[0]}, which no training image has")
        test_labels = np.searchsorted(names, given)
        if test_images.shape[1:] != images.shape[1:] or test_images.dtype != images.dtype:
            raise UserError(
                f"test_images must be like images, {images.dtype} {images.shape[1:]} as (C, H, W), got "
                f"{test_images.dtype} {test_images.shape[1:]}; convert them"
            )
    classes = tuple(str(each) for each in names.tolist())
    data = _image_data(images, labels, test_images, test_labels, classes)
    known = ("images", "labels", *optional)
    notes = tuple(f"array {name} not read" for name in sorted(arrays) if name not in known)
    return UserImages(data, classes, (), f"{path}@{digest([content])}", notes)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an archive. Raises: UserError for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # The images exist up to four times: stored, as float32, in blocks of the training, and in their copies.
            require_memory(4.0 * sum(each.file_size for each in archive.infolist()), "these arrays")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except UserError:
        raise
    except zipfile.BadZipFile as error:
        raise UserError(f"it is no .npz archive; {ACCEPTED}") from error
    except Exception as error:  # A damaged archive may raise any exception.
        why = "it holds Python objects, which are never read" if "pickle" in str(error) else str(error)
        raise UserError(f"it is no .npz archive of numbers ({why}); {ACCEPTED}") from error


def _pair(name: str, images: Any, of_labels: str, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W), uint8 or float32, and labels (N,). Raises: UserError."""
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        raise UserError(f"{name} and {of_labels} must be arrays; save them with np.savez(FILE, images=..., labels=...)")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{of_labels} must be one integer for each image, got {labels.dtype} {labels.shape}; number the classes"
        )
    found = _channels_first(name, _pixels(name, images))
    if not len(found):
        raise UserError(f"{name} must be one or more, got none; {ACCEPTED}")
    if len(found) != len(labels):
        raise UserError(f"{of_labels} must be one for each of the {len(found):,} {name}, got {len(labels):,}")
    return found, labels


def _pixels(name: str, images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise UserError(f"{name} must be uint8, or floats in [0, 1], got {images.dtype}; convert them")
    wrong = ~((images >= 0) & (images <= 1))
    if wrong.any():
        value = images[wrong][0]
        advice = "remove them" if np.isnan(value) else "divide 8-bit values by 255"
        raise UserError(f"{name} must be floats in [0, 1], got {value:g} at {_place(wrong)}; {advice}")
    return images.astype(np.float32)


def _place(wrong: np.ndarray) -> str:
    return str(tuple(int(i) for i in np.argwhere(wrong)[0]))


def _channels_first(name: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    elif not (images.ndim == 4 and images.shape[1] in (1, 3)):
        raise UserError(
            f"{name} must be of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3, got {images.shape}"
        )
    if 0 in images.shape[1:]:
        raise UserError(f"{name} must have pixels, got shape {images.shape}")
    return np.ascontiguousarray(images)


# Folders


def _from_folder(folder: Path) -> UserImages:
    parts, notes = _parts(folder)
    classes = tuple(place.name for place in _subfolders(parts["train"]))
    if not classes:
        raise UserError(f"has no subfolders of images; {ACCEPTED}")
    unknown = (
        [place.name for place in _subfolders(parts["test"]) if place.name not in classes] if "test" in parts else []
    )
    if unknown:
        raise UserError(f"test/{unknown[0]} must be one of the classes in train, {', '.join(classes)}; rename it")
    files = {name: _files(place, classes) for name, place in parts.items()}
    if not files["train"]:
        raise UserError(f"must hold images, got none in {', '.join(classes[:5])}; {ACCEPTED}")
    images = _decoded(folder, [path for name in parts for path, _ in files[name]])
    labels = np.array([label for name in parts for _, label in files[name]])
    digests, pixels = zip(*images, strict=True)
    colour = any(each.shape[0] == 3 for each in pixels)
    stacked = np.stack([np.broadcast_to(each, (3, *each.shape[1:])) if colour else each for each in pixels])
    cut = len(files["train"])
    data = _image_data(stacked[:cut], labels[:cut], stacked[cut:], labels[cut:], classes)
    names = tuple(path.relative_to(folder).as_posix() for path, _ in files["train"])
    tested = (path.relative_to(folder).as_posix() for path, _ in files.get("test", []))
    pairs = zip((*names, *tested), digests, strict=True)
    listed = [f"{name}\0{each}\n".encode(errors="surrogateescape") for name, each in pairs]
    return UserImages(data, classes, names, f"{folder}@{digest(listed)}", notes)


def _parts(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The folders that hold the classes of the parts, and what else there is."""
    if not ((folder / "train").is_dir() and _subfolders(folder / "train")):
        return {"train": folder}, ()
    parts = {name: folder / name for name in _PARTS if (folder / name).is_dir()}
    return parts, tuple(f"folder {place.name} not read" for place in _subfolders(folder) if place.name not in _PARTS)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))


def _files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Every file of each class and the label."""
    found = []
    for label, name in enumerate(classes):
        place = folder / name
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if not path.name.startswith("."):
                if path.is_dir():
                    raise UserError(f"{path.relative_to(folder)} must be an image, got a folder; move its images up")
                found.append((path, label))
    return found


def _decoded(folder: Path, paths: Sequence[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Digest and pixels, uint8 (C, H, W), of each image. Raises: UserError naming one of another size."""
    first: tuple[int, ...] = ()
    for path in paths:
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        pixels = _image(name, content)
        if not first:
            first = pixels.shape[1:]
            require_memory(8.0 * len(paths) * pixels.size, f"{len(paths):,} images like {name}")
        if pixels.shape[1:] != first:
            (height, width), (h, w) = first, pixels.shape[1:]
            raise UserError(
                f"{name} must be {width} x {height} pixels like {paths[0].relative_to(folder)}, got {w} x {h}; crop or "
                "scale all images to one size"
            )
        yield hashlib.sha256(content).hexdigest(), pixels


def _image(name: str, content: bytes) -> np.ndarray:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # e.g. of images that are enormous
        try:
            image = Image.open(io.BytesIO(content))
            mode = image.mode
            if mode in (*_GREY, *_COLOUR):
                opaque = image.convert("RGBA") if mode in ("RGBA", "LA", "PA") or "transparency" in image.info else None
                pixels = np.asarray(image.convert("L" if mode in _GREY else "RGB"))
        except UserError:
            raise
        except Exception as error:  # A damaged file may raise any exception.
            raise UserError(f"{name} must be an image, got a file that is none or damaged; remove it") from error
    if mode not in (*_GREY, *_COLOUR):
        raise UserError(f"{name} must have 8 bits for each colour, got an image of mode {mode}; convert it")
    if opaque is not None and np.asarray(opaque)[..., 3].min() < 255:
        raise UserError(f"{name} must be opaque, got an image with transparency; give it a background")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _image_data(
    images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray, classes: Sequence[str]
) -> ImageData:
    if len(np.unique(labels)) < 2:
        shown = classes[int(labels[0])]
        raise UserError(f"must have images of two or more classes, got only those of class {shown}")
    empty = np.setdiff1d(np.arange(len(classes)), labels)
    if len(empty):
        raise UserError(f"class {classes[empty[0]]} must have training images, got none; remove the folder or fill it")
    white = 255 if images.dtype == np.uint8 else 1

    def tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y, dtype=np.int64))

    parts = (*tensors(images, labels), *tensors(test_images, test_labels))
    return ImageData("own", len(classes), white, *parts, "test images")
