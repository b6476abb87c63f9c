"""Images: official layouts are read as published, and every kind of damage is reported in one line."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import logging
import os
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.data import downloads, official
from cgro.data.catalog import TRAINING_IMAGES
from cgro.data.images import image_files, load_images, stratified_subset

RECORDS = 7
MNIST_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def one_line(error: pytest.ExceptionInfo[UserError], *parts: object) -> None:
    """The message is one line that names all `parts` and ends with what to do."""
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    assert ";" in message or ":" in message


@pytest.fixture
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files made by a test do not have the published checksums."""
    monkeypatch.setattr(official, "CHECKSUMS", {})


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch, no_checksums: None) -> None:
    monkeypatch.setattr(official, "CIFAR10_BATCH", RECORDS)


def write_mnist(place: Path, packed: bool = True) -> dict[str, np.ndarray]:
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for stem in MNIST_STEMS:
        shape = (60_000 if "train" in stem else 10_000,) + ((28, 28) if "idx3" in stem else ())
        few = rng.integers(0, 10, (2_500, *shape[1:]), dtype=np.uint8)
        arrays[stem] = np.tile(few, (shape[0] // 2_500, *[1] * (len(shape) - 1)))
        arrays[stem][::2_500] = rng.integers(0, 10, arrays[stem][::2_500].shape)  # no two parts are the same
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">i4").tobytes()
        content = header + arrays[stem].tobytes()
        if packed:
            (place / f"{stem}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (place / stem).write_bytes(content)
    return arrays


def cifar_records(seed: int, count: int = RECORDS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.integers(0, 10, (count, 1), dtype=np.uint8),
            rng.integers(0, 256, (count, 3072), dtype=np.uint8),
        ],
        1,
    )


def write_cifar_bin(folder: Path, test: str = "test_batch.bin", test_count: int = RECORDS) -> Path:
    place = folder / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for i in range(1, 6):
        (place / f"data_batch_{i}.bin").write_bytes(cifar_records(i).tobytes())
    (place / test).write_bytes(cifar_records(0, test_count).tobytes())
    return place


def write_cifar_py(folder: Path, protocol: int = 2) -> Path:
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for i, name in enumerate(["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]):
        records = cifar_records(i)
        batch = {b"data": records[:, 1:].copy(), b"labels": records[:, 0].tolist(), b"batch_label": b"batch"}
        (place / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    return place


def test_digits_split_is_fixed_stratified_and_exact() -> None:
    from sklearn.datasets import load_digits

    data = load_images("digits")
    assert len(data.train_images) == TRAINING_IMAGES["digits"]
    assert data.train_images.shape[1:] == (1, 8, 8)
    assert data.train_images.dtype == torch.uint8
    assert data.train_images.max() == data.white == 16
    share = data.test_labels.bincount() / (data.test_labels.bincount() + data.train_labels.bincount())
    assert (share - 1 / 3).abs().max() < 0.01
    # Together the parts are the images of scikit-learn, each once.
    both = torch.cat([data.train_images, data.test_images]).flatten(1).numpy()
    rows = load_digits().data.astype(np.uint8)
    assert sorted(map(bytes, both)) == sorted(map(bytes, rows))
    # The third, sixth, ... image of the class 0.
    zeros = rows[load_digits().target == 0]
    np.testing.assert_array_equal(data.test_images[data.test_labels == 0].flatten(1), zeros[2::3])


def test_unknown_name_and_missing_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_images("imagenet")
    assert str(error.value) == "data must be one of digits, mnist, cifar10, cifar100, got 'imagenet'"
    monkeypatch.delenv("CGRO_DATA", raising=False)
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    for hosts in ("MNIST_HOSTS", "CIFAR_HOSTS"):
        monkeypatch.setattr(downloads, hosts, ("http://127.0.0.1:9/",))
    for name in ("mnist", "cifar10", "cifar100"):
        with pytest.raises(UserError) as error:
            load_images(name)
        one_line(error, "cannot be downloaded", "127.0.0.1", "CGRO_DATA", tmp_path / "cache")
        with pytest.raises(UserError) as error:
            load_images(name, tmp_path)
        one_line(error, tmp_path)
        assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_read_in_every_place(tmp_path, monkeypatch, packed) -> None:
    place = tmp_path / ("mnist" if packed else "")
    arrays = write_mnist(place, packed)
    monkeypatch.setenv("CGRO_DATA", str(tmp_path))
    data = load_images("mnist")
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert data.white == 255
    found = (data.train_images[:, 0], data.train_labels, data.test_images[:, 0], data.test_labels)
    for tensor, stem in zip(found, MNIST_STEMS, strict=True):
        np.testing.assert_array_equal(tensor, arrays[stem])
    assert data.train_labels.dtype == torch.int64

    # Damage, one kind after the other, to the smallest file.
    path = place / (MNIST_STEMS[3] + (".gz" if packed else ""))
    good = path.read_bytes()
    plain = gzip.decompress(good) if packed else good
    pack = gzip.compress if packed else bytes
    damages = {
        "10,007 bytes, expected 10,008": pack(plain[:-1]),
        "more than 10,008 bytes": pack(plain + b"0"),
        "header is 00000803": pack(b"\0\0\x08\x03" + plain[4:]),
        "label 10, expected 0 to 9": pack(plain[:-1] + b"\x0a"),
    }
    if packed:
        damages |= {"truncated gzip": good[:-20], "damaged or truncated gzip (Not": b"PK" + good}
    for message, content in damages.items():
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            load_images("mnist")
        one_line(error, path, message)
    path.unlink()
    with pytest.raises(UserError) as error:
        load_images("mnist")
    one_line(error, MNIST_STEMS[3], "cannot be read")


def test_files_of_an_official_name_must_have_the_published_checksum(tmp_path, monkeypatch) -> None:
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(b"content")
    with pytest.raises(UserError) as error:
        official._read(path)
    one_line(error, path, "altered", "sha256", "replace", official.CHECKSUMS[path.name].removeprefix("sha256:"))
    digest = hashlib.sha256(b"content").hexdigest()
    monkeypatch.setattr(official, "CHECKSUMS", {path.name: f"sha256:{digest}"})
    assert official._read(path) == b"content"


@pytest.mark.parametrize("kind", ["missing", "truncated", "header", "huge"])
def test_every_message_shows_the_published_checksum(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room on the disk
    elif kind != "missing":
        path.write_bytes(gzip.compress(bytes(10_008))[: -9 if kind == "truncated" else None])
    with pytest.raises(UserError) as error:
        official._read(path, 10_008) if kind != "header" else official._idx(tmp_path, path.stem, (10_000,))
    one_line(error, path, official.CHECKSUMS[path.name].removeprefix("sha256:"))


@pytest.mark.usefixtures("small_batches")
def test_a_negative_label_is_named(tmp_path: Path) -> None:
    path = write_cifar_py(tmp_path) / "data_batch_1"
    content = {b"data": np.zeros((RECORDS, 3072), np.uint8), b"labels": [0] * (RECORDS - 1) + [-3]}
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError) as error:
        load_images("cifar10", tmp_path)
    one_line(error, path, "label -3, expected 0 to 9")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("write", [write_cifar_bin, write_cifar_py])
def test_cifar10_is_read_from_both_layouts(tmp_path, write) -> None:
    place = write(tmp_path)
    for folder in (tmp_path, place):
        data = load_images("cifar10", folder)
        assert data.train_images.shape == (5 * RECORDS, 3, 32, 32)
        expected = np.concatenate([cifar_records(i) for i in range(1, 6)])
        np.testing.assert_array_equal(data.train_images.flatten(1), expected[:, 1:])
        np.testing.assert_array_equal(data.train_labels, expected[:, 0])
        np.testing.assert_array_equal(data.test_labels, cifar_records(0)[:, 0])
        assert data.test_name == "test images"


@pytest.mark.usefixtures("small_batches")
def test_image_files_are_told_apart_by_their_content(tmp_path) -> None:
    write_cifar_bin(tmp_path / "bin")
    write_cifar_py(tmp_path / "py")
    write_cifar_bin(tmp_path / "head", "test_batch_head3.bin", 3)
    found = [image_files("cifar10", tmp_path / name) for name in ("bin", "py", "head")]
    assert found[0] == found[1] != found[2]
    assert found == [load_images("cifar10", tmp_path / name).files for name in ("bin", "py", "head")]
    assert str(found[2]).startswith("3 test images, sha256 ")
    assert image_files("cifar10", tmp_path / "nowhere") is None
    assert image_files("digits") is load_images("digits").files is None


@pytest.mark.usefixtures("small_batches")
def test_beginning_of_the_cifar10_test_set_is_used_and_named(tmp_path) -> None:
    place = write_cifar_bin(tmp_path, "test_batch_head3.bin", 3)
    data = load_images("cifar10", tmp_path)
    assert len(data.test_images) == 3
    assert data.test_name == "first 3 test images"
    (place / "test_batch_head3.bin").rename(place / "test_batch_head4.bin")
    with pytest.raises(UserError) as error:
        load_images("cifar10", tmp_path)
    one_line(error, "test_batch_head4.bin", f"{3 * 3073:,}", f"{4 * 3073:,}")


@pytest.mark.usefixtures("small_batches")
def test_damaged_cifar10_records_are_named(tmp_path) -> None:
    path = write_cifar_bin(tmp_path) / "data_batch_2.bin"
    good = path.read_bytes()
    for content, message in ((good[:-1], "bytes, expected"), (b"\x0c" + good[1:], "label 12")):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            load_images("cifar10", tmp_path)
        one_line(error, path, message, "replace")
    path.unlink()
    with pytest.raises(UserError) as error:
        load_images("cifar10", tmp_path)
    one_line(error, path, "cannot be read")


class Harmful:
    """Unpickles by running a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.usefixtures("small_batches")
def test_pickles_run_no_code(tmp_path) -> None:
    path = write_cifar_py(tmp_path) / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Harmful(tmp_path / "harm")}, protocol=2))
    with pytest.raises(UserError) as error:
        load_images("cifar10", tmp_path)
    one_line(error, path, "system, which no image needs")
    assert not (tmp_path / "harm").exists()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({b"data": np.zeros((RECORDS, 3072), np.int64), b"labels": [0] * RECORDS}, protocol=2),
        pickle.dumps({b"data": np.zeros((RECORDS - 1, 3072), np.uint8), b"labels": [0] * RECORDS}, protocol=2),
        pickle.dumps({b"data": np.zeros((RECORDS, 3072), np.uint8), b"labels": [0]}, protocol=2),
        pickle.dumps({b"data": np.array([[print]]), b"labels": [0] * RECORDS}, protocol=2),
        pickle.dumps({b"data": np.zeros((RECORDS, 3072), np.uint8), b"labels": [0.5] * RECORDS}, protocol=2),
        pickle.dumps({b"data": np.zeros((RECORDS, 3072), np.uint8), b"labels": [True] * RECORDS}, protocol=2),
        pickle.dumps({b"data": np.zeros((RECORDS, 3072), np.uint8), b"labels": [2**70] * RECORDS}, protocol=2),
    ],
    ids=["empty", "text", "list", "int64", "short", "labels", "objects", "rounded", "truth", "huge"],
)
def test_pickles_of_something_else_are_named(tmp_path, content) -> None:
    path = write_cifar_py(tmp_path) / "data_batch_4"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_images("cifar10", tmp_path)
    one_line(error, path, f"not a CIFAR-10 batch of {RECORDS} images")


def write_cifar100(folder: Path) -> Path:
    """Official layout of CIFAR-100 for Python, with a few records; the real files have keys as bytes, too."""
    place = folder / "cifar-100-python"
    place.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(("train", "test")):
        records = cifar_records(k)
        content = {b"data": records[:, 1:], b"fine_labels": [99, *range(RECORDS - 1)], b"coarse_labels": [0] * RECORDS}
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    return place


@pytest.mark.usefixtures("no_checksums")
def test_cifar100_is_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(official, "CIFAR100_SIZES", {"train": RECORDS, "test": RECORDS})
    place = write_cifar100(tmp_path)
    for folder in (tmp_path, place):
        data = load_images("cifar100", folder)
        assert data.classes == 100
        np.testing.assert_array_equal(data.train_images.flatten(1), cifar_records(0)[:, 1:])
        assert data.test_labels.tolist() == [99, *range(RECORDS - 1)]
    (place / "test").write_bytes(
        pickle.dumps({b"data": cifar_records(1)[:, 1:], b"fine_labels": [100] * RECORDS}, protocol=2)
    )
    with pytest.raises(UserError) as error:
        load_images("cifar100", tmp_path)
    one_line(error, place / "test", "label 100, expected 0 to 99")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address of a local server that serves it."""
    offered = tmp_path / "offered"
    offered.mkdir()
    handler = functools.partial(QuietHandler, directory=str(offered))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield offered, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def offer_cifar100(offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive of synthetic CIFAR-100 files, with a member that would escape the folder; its checksum is
    registered."""
    place = write_cifar100(tmp_path / "made")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("train", "test"):
            tar.add(place / name, f"cifar-100-python/{name}")
        escape = tarfile.TarInfo("../escaped")
        tar.addfile(escape, io.BytesIO())
    content = archive.getvalue()
    (offered / "cifar-100-python.tar.gz").write_bytes(content)
    remotes = downloads._remotes
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    monkeypatch.setattr(downloads, "_remotes", lambda name: [replace(r, checksum=checksum) for r in remotes(name)])
    return content


@pytest.mark.usefixtures("no_checksums")
def test_data_sets_are_downloaded_verified_and_unpacked_safely(tmp_path, monkeypatch, host) -> None:
    offered, address = host
    monkeypatch.setattr(official, "CIFAR100_SIZES", {"train": RECORDS, "test": RECORDS})
    content = offer_cifar100(offered, tmp_path, monkeypatch)
    # The first host does not answer, the second sends something else, the third has it.
    (offered / "bad").mkdir()
    (offered / "bad" / "cifar-100-python.tar.gz").write_bytes(content[:-1] + b"x")
    monkeypatch.setattr(downloads, "CIFAR_HOSTS", ("http://127.0.0.1:9/", f"{address}bad/", address))
    folder = tmp_path / "data"
    data = load_images("cifar100", folder)
    assert data.test_labels.tolist() == [99, *range(RECORDS - 1)]
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {"cifar-100-python/train", "cifar-100-python/test"}
    assert not (tmp_path / "escaped").exists()
    # Once there, nothing is asked for again.
    monkeypatch.setattr(downloads, "fetch", None)
    load_images("cifar100", folder)


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING], ids=["shown", "quiet"])
def test_progress_of_a_download_leaves_standard_output_alone(
    level: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: tuple[Path, str],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    offered, address = host
    monkeypatch.setattr(official, "CIFAR100_SIZES", {"train": RECORDS, "test": RECORDS})
    offer_cifar100(offered, tmp_path, monkeypatch)
    monkeypatch.setattr(downloads, "CIFAR_HOSTS", (address,))
    caplog.set_level(level, "cgro")
    load_images("cifar100", tmp_path / "data")
    out, err = capfd.readouterr()
    assert out == ""
    assert ("100%" in err) == (level == logging.INFO)


@pytest.mark.usefixtures("no_checksums")
def test_a_download_that_does_not_match_its_checksum_leaves_nothing(tmp_path, monkeypatch, host) -> None:
    offered, address = host
    content = offer_cifar100(offered, tmp_path, monkeypatch)
    (offered / "cifar-100-python.tar.gz").write_bytes(content + b"more")
    monkeypatch.setattr(downloads, "CIFAR_HOSTS", (address,))
    with pytest.raises(UserError) as error:
        load_images("cifar100", tmp_path / "data")
    one_line(error, "the checksum differs from the published one", "CGRO_DATA")
    assert list((tmp_path / "data").rglob("*")) == []


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
@example(labels=[2, 4, 0, 1, 3, 4, 4], share=0.75, seed=2)  # class 4 is off by 1.14
def test_subsets_are_stratified_nested_and_reproducible(labels, share, seed) -> None:
    y = torch.tensor(labels)
    count = max(1, round(share * len(y)))
    subset = stratified_subset(y, count, seed)
    assert len(subset.unique()) == count
    proportional = y.bincount() * count / len(y)
    off = (y[subset].bincount(minlength=len(proportional)) - proportional).abs()
    assert bool((off <= (1 + len(set(labels)) * y.bincount() / len(y)) / 2 + 1e-5).all())
    assert torch.equal(subset, stratified_subset(y, len(y), seed)[:count])


def test_subsets_depend_on_the_seed_and_refuse_impossible_counts() -> None:
    y = torch.arange(100) % 10
    assert not torch.equal(stratified_subset(y, 20, 0), stratified_subset(y, 20, 1))
    for count in (0, 101):
        with pytest.raises(UserError, match=f"samples must be .*got {count}"):
            stratified_subset(y, count, 0)
    for count in (2.5, True, "2"):
        with pytest.raises(UserError, match="samples must be an integer"):
            stratified_subset(y, count, 0)


@pytest.mark.skipif(not os.environ.get("CGRO_DATA"), reason="CGRO_DATA names no folder of official files")
@pytest.mark.parametrize(("name", "first"), [("mnist", [5, 0, 4, 1, 9]), ("cifar10", [6, 9, 9, 4, 1])])
def test_official_files(name, first) -> None:
    data = load_images(name)
    assert len(data.train_images) == TRAINING_IMAGES[name]
    assert data.train_labels[:5].tolist() == first
