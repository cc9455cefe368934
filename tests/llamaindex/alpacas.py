"""An index of two facts about alpacas, and what a query of it looks like."""

from __future__ import annotations

from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding

RETRIEVAL = {"retriever VectorIndexRetriever": ["embedding MockEmbedding"]}
ANSWER = {"chain CompactAndRefine": ["generation TextLLM"]}
QUERY = {"chain RetrieverQueryEngine": [RETRIEVAL, ANSWER]}


def index_of_alpacas() -> VectorStoreIndex:
    """Return the index."""
    documents = [
        Document(text="Alpacas hum.", metadata={"file_name": "alpacas.md"}),
        Document(text="Alpacas eat grass.", metadata={"file_name": "food.md"}),
    ]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))


def consumed(response: Any) -> str:
    """Read a streamed answer to its end."""
    return "".join(response.response_gen)
