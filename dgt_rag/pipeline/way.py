"""How a run is to be made, beside what its task says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dgt_rag.guard import Guards
from dgt_rag.pipeline.growth import Load
from dgt_rag.pipeline.progress import Progress
from dgt_rag.records import Document


@dataclass(frozen=True)
class Way:
    """Choices of whoever starts a run; none of them changes its rows."""

    restart: bool = False
    cache: bool = True
    """Whether calls may be answered from the store of calls."""
    corpora: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    """Documents for `search/in_memory` engines, by the engine's name."""
    guards: Guards = field(default_factory=Guards)
    """One limiter per endpoint, shared by the runs of one command."""
    processes: int = 1
    """Processes that may work at a run where the task does not say how many."""
    load: Callable[[], float] = field(default_factory=Load)
    """Tells how busy this process is; more of them are taken when it is."""
    say: Callable[[str], None] = print
    watch: Callable[[Progress], None] = lambda progress: None
    """Told of the progress object of the run, once, when it begins."""
