"""The documents as files: written, or compared with what is there."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import orjson
import yaml

from bridge.contract.asyncapi import asyncapi
from bridge.contract.documents import schemas
from bridge.errors import ContractError


def write(folder: Path) -> list[Path]:
    """Write all documents below a folder; return their paths. Raises `ContractError`."""
    texts = _texts()
    try:
        for path, text in texts.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, "utf-8")
    except OSError as error:
        raise ContractError(f"{error.filename}: {error.strerror}") from None
    return [folder / path for path in texts]


def differences(folder: Path) -> list[str]:
    """Return what is wrong with the files of a folder, a line each: differs, missing or extra."""
    texts = _texts()
    there = {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()}
    found = [
        f"{folder / path}: missing" if path not in there else f"{folder / path}: differs"
        for path, text in texts.items()
        if path not in there or (folder / path).read_bytes() != text.encode()
    ]
    return [*found, *(f"{folder / path}: extra" for path in sorted(there - texts.keys()))]


def _texts() -> dict[Path, str]:
    """Return what belongs into each file."""
    documents = schemas()
    texts = {
        Path(f"{path}.json"): orjson.dumps(
            each, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        ).decode()
        for path, each in documents.items()
    }
    described = asyncapi(documents, version("tactium-bridge"))
    dumped = yaml.dump(described, Dumper=_Whole, sort_keys=False, allow_unicode=True, width=100)
    return {**texts, Path("asyncapi.yaml"): dumped}


class _Whole(yaml.SafeDumper):
    """Writes what occurs twice twice: an anchor means nothing to a reader."""

    def ignore_aliases(self, _data: object) -> bool:
        return True
