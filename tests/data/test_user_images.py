"""Images of a user: archives and folders are read as documented, and everything else is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cgro.base.errors import UserError
from cgro.data.images import ImageData
from cgro.data.user_images import UserImages, read_user_images

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 5), dtype=np.uint8)
LABELS = np.array([7, -1, 7, 3, 3, -1])


def archive(folder: Path, **arrays: Any) -> str:
    path = folder / "own.npz"
    np.savez(path, **({"images": IMAGES, "labels": LABELS} | arrays))
    return str(path)


def folder_of(place: Path, *, mode: str = "L", classes: tuple[str, ...] = ("cat", "dog")) -> str:
    """Three images for each class, each of one shade."""
    for k, name in enumerate(classes):
        (place / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (4, 4), 50 * k + i).convert(mode).save(place / name / f"{i}.png")
    return str(place)


# Archives


def test_labels_are_renumbered_and_keep_their_names(tmp_path: Path) -> None:
    found = read_user_images(archive(tmp_path))
    assert found.classes == ("-1", "3", "7")
    assert found.data.train_labels.tolist() == [2, 0, 2, 1, 1, 0]
    assert (found.data.classes, found.data.white, found.files, found.notes) == (3, 255, (), ())
    assert torch.equal(found.data.train_images, torch.from_numpy(IMAGES[:, None]))
    assert len(found.data.test_images) == len(found.data.test_labels) == 0


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5, 4), (6, 1, 5, 4)),
        ((6, 5, 4, 3), (6, 3, 5, 4)),
        ((6, 5, 4, 1), (6, 1, 5, 4)),
        ((6, 3, 5, 4), (6, 3, 5, 4)),
        ((6, 1, 5, 4), (6, 1, 5, 4)),
        ((6, 3, 5, 3), (6, 3, 3, 5)),
    ],
)
def test_channels_are_the_last_dimension_if_they_can_be(
    shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    images = RNG.random(shape)
    found = read_user_images(archive(tmp_path, images=images)).data
    assert tuple(found.train_images.shape) == expected
    assert (found.white, found.train_images.dtype) == (1, torch.float32)


def test_three_by_three_images_of_three_channels_have_channels_last(tmp_path: Path) -> None:
    images = RNG.random((6, 3, 3, 3)).astype(np.float32)
    found = read_user_images(archive(tmp_path, images=images)).data
    assert torch.equal(found.train_images, torch.from_numpy(images).permute(0, 3, 1, 2))


def test_test_images_have_the_labels_of_training_images(tmp_path: Path) -> None:
    found = read_user_images(archive(tmp_path, test_images=IMAGES[:2], test_labels=[3, 7], extra=[1]))
    assert found.data.test_labels.tolist() == [1, 2]
    assert found.notes == ("array extra not read",)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": LABELS[:5]}, "labels must be one for each of the 6 images, got 5"),
        ({"labels": LABELS / 2}, r"labels must be one integer for each image, got float64 \(6,\); number the classes"),
        ({"labels": LABELS[:, None]}, r"labels must be one integer for each image, got int64 \(6, 1\)"),
        ({"labels": LABELS > 0}, "labels must be one integer for each image, got bool"),
        ({"labels": np.zeros(6, int)}, "must have images of two or more classes, got only those of class 0"),
        ({"images": IMAGES.astype(int)}, r"images must be uint8, or floats in \[0, 1\], got int64; convert them"),
        ({"images": IMAGES.astype(float)}, r"images must be floats in \[0, 1\], got \d+ at .*; divide 8-bit values"),
        ({"images": np.full((6, 4, 4), np.nan)}, r"images must be floats .* got nan at \(0, 0, 0\); remove them"),
        ({"images": np.full((6, 4, 4), -0.5)}, "got -0.5 at"),
        ({"images": IMAGES[0]}, r"images must be of shape \(N, H, W\), .* got \(5, 5\)"),
        ({"images": np.zeros((6, 4, 4, 4))}, r"with C 1 or 3, got \(6, 4, 4, 4\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images must be one or more, got none"),
        ({"images": IMAGES[:, :, :0]}, "images must have pixels"),
        ({"images": np.array([None] * 6)}, "it holds Python objects, which are never read"),
        ({"test_images": IMAGES}, "must have an array test_labels, got images, labels, test_images"),
        ({"test_images": IMAGES, "test_labels": LABELS + 9}, "test_labels must be among the labels, got 8"),
        ({"test_images": IMAGES[:, 1:], "test_labels": LABELS}, "test_images must be like images, uint8"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = archive(tmp_path, **arrays)
    with pytest.raises(UserError, match=f"{path}: .*{words}") as caught:
        read_user_images(path)
    assert "\n" not in str(caught.value)


def test_missing_arrays_are_named_with_what_is_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=IMAGES, y=LABELS)
    with pytest.raises(UserError, match=r"must have an array images, got x, y; give an .npz file with the arrays"):
        read_user_images(str(tmp_path / "x.npz"))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(50)])
def test_files_that_are_no_archive_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x.npz: it is no .npz archive"):
        read_user_images(str(tmp_path / "x.npz"))
    with pytest.raises(UserError, match=r"nothing: no such file or folder; give an .npz file"):
        read_user_images(str(tmp_path / "nothing"))


# Folders


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / ".DS_Store").write_text("hidden")
    (tmp_path / "cat" / ".DS_Store").rename(tmp_path / ".DS_Store")
    (tmp_path / "cat").rmdir()
    found = read_user_images(folder_of(tmp_path))
    assert found.classes == ("cat", "dog")
    assert found.files == ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png")
    assert found.data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert tuple(found.data.train_images.shape) == (6, 1, 4, 4)
    assert found.data.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 50, 51, 52]


def test_one_image_in_colour_makes_all_colour(tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "dog" / "9.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "dog" / "99.gif")
    images = read_user_images(path).data.train_images
    assert tuple(images.shape) == (8, 3, 4, 4)
    assert images[1, :, 0, 0].tolist() == [1, 1, 1]
    assert images[6, :, 0, 0].tolist() == [1, 2, 3]


def test_train_and_test_may_lie_above_the_classes(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", classes=("cat", "dog"))
    folder_of(tmp_path / "test", classes=("dog",))
    folder_of(tmp_path / "validation")
    found = read_user_images(str(tmp_path))
    assert found.files[:2] == ("train/cat/0.png", "train/cat/1.png")
    assert found.data.test_labels.tolist() == [1, 1, 1]
    assert found.notes == ("folder validation not read",)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert read_user_images(folder_of(tmp_path, classes=("plane", "train"))).classes == ("plane", "train")


def other_size(place: Path) -> None:
    Image.new("L", (4, 5)).save(place / "dog" / "odd.png")


def no_image(place: Path) -> None:
    (place / "dog" / "notes.txt").write_text("text")


def transparent(place: Path) -> None:
    Image.new("RGBA", (4, 4)).save(place / "dog" / "odd.png")


def deep(place: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(place / "dog" / "odd.png")


def deeper(place: Path) -> None:
    (place / "dog" / "puppies").mkdir()


def empty_class(place: Path) -> None:
    (place / "eel").mkdir()


def test_only(place: Path) -> None:
    folder_of(place / "train")
    folder_of(place / "test", classes=("eel",))


test_only.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            other_size,
            "dog/odd.png must be 4 x 4 pixels like cat/0.png, got 4 x 5; crop or scale all images to one size",
        ),
        (no_image, "dog/notes.txt must be an image, got a file that is none or damaged; remove it"),
        (transparent, "dog/odd.png must be opaque, got an image with transparency"),
        (deep, "dog/odd.png must have 8 bits for each colour, got an image of mode I;16"),
        (deeper, "dog/puppies must be an image, got a folder; move its images up"),
        (empty_class, "class eel must have training images, got none"),
        (test_only, "test/eel must be one of the classes in train, cat, dog; rename it"),
    ],
)
def test_folders_are_refused_with_the_file_that_is_wrong(
    change: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    path = folder_of(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=f"{path}: {words}") as caught:
        read_user_images(path)
    assert "\n" not in str(caught.value)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no subfolders of images"):
        read_user_images(str(tmp_path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="must hold images, got none in cat"):
        read_user_images(str(tmp_path))
    with pytest.raises(UserError, match="two or more classes, got only those of class cat"):
        read_user_images(folder_of(tmp_path / "one", classes=("cat",)))


# Content


def equal(a: ImageData, b: ImageData) -> bool:
    return torch.equal(a.train_images, b.train_images) and torch.equal(a.train_labels, b.train_labels)


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_a_name_with_a_digest_means_that_content(kind: str, tmp_path: Path) -> None:
    path = archive(tmp_path) if kind == "archive" else folder_of(tmp_path / "images")
    found: UserImages = read_user_images(path)
    again = read_user_images(found.recorded)
    assert equal(found.data, again.data)
    assert again.recorded == found.recorded
    if kind == "archive":
        archive(tmp_path, labels=LABELS[::-1])
    else:
        Path(path, "cat/2.png").rename(Path(path, "dog/3.png"))
    with pytest.raises(UserError, match=r"changed since it was recorded as .{16}; restore it, or run again"):
        read_user_images(found.recorded)
    assert read_user_images(path).recorded != found.recorded
