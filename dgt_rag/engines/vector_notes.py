"""What is noted of vectors: what they are made of, by which they are named, and who stands on them."""

import hashlib
import json
from pathlib import Path

from pydantic import Field

from dgt_rag.errors import EngineError
from dgt_rag.plugins import Settings

_FORMAT = 2


class Origin(Settings):
    """What vectors are made of."""

    format: int = _FORMAT
    embedder: str
    fingerprint: str
    """The digest of the corpus."""
    count: int
    """Rows when it is whole."""

    @property
    def digest(self) -> str:
        """The name of these vectors."""
        parts = [self.format, self.embedder, self.fingerprint, self.count]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class Manifest(Origin):
    """What the vectors in a file are."""

    dimension: int = Field(ge=1)
    sources: tuple[str, ...] = ()
    """Where the corpora stand that they are of (`Place`)."""
    probe: tuple[float, ...] = ()
    """The embedder's vector of a fixed passage (`PROBE`); empty if its name tells the weights."""
    spare: bool = False
    """Whether they are some of a build that failed: texts in no order, kept to be taken over by the next one."""


def noted(path: Path) -> Manifest | None:
    """Return what stands in a note; None if there is nothing that can be read."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror}); set `index_dir` to another folder") from error
