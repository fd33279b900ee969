"""A case: its files, where they are, and what is wrong with them."""

from dataclasses import dataclass
from pathlib import Path

from system.text_files import printable


@dataclass(frozen=True)
class Case:
    """One subject's files.

    Attributes:
        image: with all channels, or with the first of several files.
        label: None for an image that is to be segmented.
        channel_first: whether the channels come first if a file's shape leaves that open.
        more_channels: the files of the other channels if each channel has its own.
    """

    case_id: str
    image: Path
    label: Path | None
    channel_first: bool = False
    more_channels: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """All files of the image, in the order of the channels."""
        return (self.image, *self.more_channels)


@dataclass(frozen=True)
class Layout:
    """Where a dataset keeps its files, below its root.

    Attributes:
        images: folder of the images.
        labels: folder of the labels; the same as `images` if both are in one folder, told apart by
            the endings _image and _label.
        prefix: only files whose names begin with it.
        channel_first: as in Case.
    """

    images: str
    labels: str
    prefix: str = ""
    channel_first: bool = False


@dataclass(frozen=True)
class Listed:
    """A case of an explicit list: its files, relative to the root.

    Attributes:
        images: one with all channels, or one for each channel.
    """

    case_id: str
    images: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with one case, and what to do."""

    case_id: str
    path: Path
    found: str
    remedy: str

    @property
    def shown_id(self) -> str:
        """The case id in printable characters."""
        return printable(self.case_id)

    def __str__(self) -> str:
        return printable(f"  {self.case_id}: {self.path}: {self.found}; {self.remedy}.")


class DataError(ValueError):
    """Data that cannot be used; the message names every problem with its remedy."""
