"""Finds the content folders (rules, models, streams, migrations): the bank's overlay, the wheel, the checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from aml.domain.errors import AmlError

FOLDERS: Final = ("rules", "models", "streams", "migrations")


def folder(name: str) -> Path:
    """The content folder `name`: of AML_CONTENT if it has one, else of the installed wheel, else of the checkout.

    Raises AmlError where AML_CONTENT is no folder or the content is nowhere.
    """
    if name not in FOLDERS:
        raise ValueError(f"{name!r} is no content folder: {', '.join(FOLDERS)}")
    package = Path(__file__).parent
    places = [package / "_content" / name, package.parent / name]
    overlay = os.environ.get("AML_CONTENT")
    if overlay:
        if not Path(overlay).is_dir():
            raise AmlError(f"AML_CONTENT={overlay}: is no folder: name one that holds rules, models or streams")
        places.insert(0, Path(overlay) / name)
    for place in places:
        if place.is_dir():
            return place
    raise AmlError(f"the content folder {name!r} is missing from this installation: install aml-monitor again")


def content_dir(name: str) -> Path:
    """Another name of `folder`, for modules that import it alone."""
    return folder(name)
