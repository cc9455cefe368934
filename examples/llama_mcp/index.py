"""IndexedLibrary: the library behind a LlamaIndex index.

Each passage is a node of a `VectorStoreIndex`. Its vector has a place for every word of the library, weighted as BM25
does, so that nothing has to be downloaded and the same words give the same result everywhere. A real embedding
model can be given to the index instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from library import Hit, Library
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from pydantic import PrivateAttr


class WordVectors(BaseEmbedding):
    """Embeds a passage as its words' weights, and a query as the words that it names."""

    _passage: Callable[[str], list[float]] = PrivateAttr()
    _query: Callable[[str], list[float]] = PrivateAttr()

    def __init__(self, passage: Callable[[str], list[float]], query: Callable[[str], list[float]]) -> None:
        super().__init__(model_name="words")
        self._passage = passage
        self._query = query

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._passage(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._query(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._query(query)


class IndexedLibrary(Library):
    """A library whose search is a retriever of LlamaIndex."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._places = {word: place for place, word in enumerate(sorted(self._holding))}
        nodes = [
            TextNode(id_=str(number), text=passage.text, metadata={"title": passage.title})
            for number, passage in enumerate(self._passages)
        ]
        for node in nodes:
            node.embedding = self._weights(int(node.id_))
        vectors = WordVectors(lambda text: [0.0] * len(self._places), self._named)
        self._index = VectorStoreIndex(nodes, embed_model=vectors)

    def search(self, query: str, limit: int = 3) -> list[Hit]:
        """Return up to *limit* passages, the best first; none if no word of *query* occurs."""
        if not any(self._named(query)):
            return []
        nodes: list[Any] = self._index.as_retriever(similarity_top_k=limit).retrieve(query)
        return [Hit(each.node.metadata["title"], each.node.text, each.score) for each in nodes if each.score > 0]

    def _weights(self, number: int) -> list[float]:
        passage = self._passages[number]
        weights = [0.0] * len(self._places)
        for word in passage.words:
            weights[self._places[word]] = self._score(frozenset({word}), passage)
        return weights

    def _named(self, query: str) -> list[float]:
        named = self.words(query)
        return [float(word in named) for word in self._places]
