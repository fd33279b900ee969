"""An nnU-Net that the trainers cannot work with is refused, wherever the tests run."""

import re
from importlib.metadata import PackageNotFoundError

import pytest

from nnunet import installed


@pytest.mark.parametrize("found", ["2.7.1", "2.5", "1.7.0", "3.0.0", "2"])
def test_another_version_is_refused_with_both(found, monkeypatch):
    monkeypatch.setattr(installed, "version", lambda _: found)
    with pytest.raises(ImportError, match=rf"needs nnunetv2 2\.8 .* but {re.escape(found)} is "
                                          rf"installed: pip install 'nnunetv2>=2\.8,<3'"):
        installed.check_nnunet()


@pytest.mark.parametrize("found", ["2.8.0", "2.8", "2.10.3", "2.8.0rc1"])
def test_newer_ones_are_taken(found, monkeypatch):
    monkeypatch.setattr(installed, "version", lambda _: found)
    assert installed.check_nnunet() is None


def test_no_nnunet_at_all(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installed, "version", absent)
    with pytest.raises(ImportError, match="not installed: pip install 'nnunetv2"):
        installed.check_nnunet()
