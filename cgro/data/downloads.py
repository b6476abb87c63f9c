"""Downloads of the official data sets: verified by their published checksums, written whole, unpacked safely."""

from __future__ import annotations

import io
import logging
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch

from cgro.base.errors import UserError
from cgro.base.files import require_writable, write_whole
from cgro.data.official import CHECKSUMS

log = logging.getLogger(__name__)
MNIST_HOSTS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
CIFAR_HOSTS = ("https://www.cs.toronto.edu/~kriz/",)


@dataclass(frozen=True)
class Remote:
    """A file and its hosts. Of an archive the `members` are unpacked; any other file is kept as it is."""

    name: str
    checksum: str
    hosts: Sequence[str]
    place: str
    """Folder of the file or of the members, relative to the data folder."""
    members: tuple[str, ...] = ()


def _remotes(name: str) -> list[Remote]:
    if name == "mnist":
        # The file that tells that the data set is there comes last.
        files = [file for file in reversed(CHECKSUMS) if file.endswith("-ubyte.gz")]
        return [Remote(file, CHECKSUMS[file], MNIST_HOSTS, "mnist") for file in files]
    if name == "cifar10":
        members = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
        archive, checksum, place = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-batches-py"
    else:
        members = ("train", "test")
        archive, checksum, place = "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", "cifar-100-python"
    return [Remote(archive, f"md5:{checksum}", CIFAR_HOSTS, place, members)]


def cache() -> Path:
    """Default folder for data sets."""
    return Path(pooch.os_cache("cgro"))


def fetch(name: str, folder: Path) -> None:
    """Download the data set into the folder, in its official layout.

    Raises: UserError if no host has it, a checksum does not match, or the folder is not writable.
    """
    require_writable(folder)
    pooch.get_logger().setLevel(logging.WARNING)
    for remote in _remotes(name):
        log.info("downloading %s to %s", remote.name, folder)
        content = _downloaded(remote, folder)
        if not remote.members:
            write_whole(folder / remote.place / remote.name, content)
            continue
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            # Members are read by name and written here: the archive has no say in where files go.
            found = {member: archive.extractfile(f"{remote.place}/{member}") for member in remote.members}
            # The file that tells that the data set is there comes last.
            for member in reversed(remote.members):
                stream = found[member]
                assert stream is not None
                write_whole(folder / remote.place / member, stream.read())


def _downloaded(remote: Remote, folder: Path) -> bytes:
    """Content of a file, from the first host that has it."""
    reasons = []
    for host in remote.hosts:
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
                path = pooch.retrieve(
                    f"{host}{remote.name}",
                    known_hash=remote.checksum,
                    fname=remote.name,
                    path=temporary,
                    progressbar=log.isEnabledFor(logging.INFO),
                )
                return Path(path).read_bytes()
        except ValueError:
            reasons.append(f"{host}: the checksum differs from the published one")
        except OSError as error:
            reasons.append(f"{host}: {type(error).__name__}")
    raise UserError(
        f"{remote.name} cannot be downloaded ({'; '.join(reasons)}); put the official files into {folder}, or name the "
        "folder that has them by --data-dir or CGRO_DATA"
    )
