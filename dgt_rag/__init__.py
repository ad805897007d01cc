"""Training conversations in which an assistant answers from retrieved text, made from your own documents.

from dgt_rag import load_task, run

result = run(load_task("TASK.yaml"), num_outputs=20)
for conversation in result.conversations():
print(conversation.steps)
"""

import importlib
from typing import Any

_HOMES = {
    "load_task": "dgt_rag.api",
    "run": "dgt_rag.api",
    "arun": "dgt_rag.api",
    "RunResult": "dgt_rag.pipeline.run",
    "Task": "dgt_rag.task",
    "ConversationDataPoint": "dgt_rag.records",
    "Document": "dgt_rag.records",
    "Hit": "dgt_rag.records",
    "ToolCall": "dgt_rag.records",
    "ToolResult": "dgt_rag.records",
    "SearchToolEngine": "dgt_rag.engines.base",
    "Retriever": "dgt_rag.engines.base",
    "DocumentSampler": "dgt_rag.samplers.base",
    "Embedder": "dgt_rag.embedders.base",
    "Stage": "dgt_rag.stages.base",
    "ModelStage": "dgt_rag.stages.base",
    "Model": "dgt_rag.llm.base",
    "Formatter": "dgt_rag.formats.base",
    "Dropped": "dgt_rag.errors",
    "DgtError": "dgt_rag.errors",
    "TaskError": "dgt_rag.errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for, so that `import dgt_rag` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dgt_rag' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
