"""Other tracers of the same frameworks, whose spans would reach Langfuse: ours are kept, and tokens count once."""

from __future__ import annotations

import json

import pytest

from fresh import run_fresh
from peers.otlp import Receiver

BEGIN = """
    import asyncio, logging, warnings
    warnings.simplefilter("ignore")  # of the other packages
    from langfuse import get_client, observe
    get_client()
    import langfuse_integration_langchain, langfuse_integration_llamaindex
    from langfuse_integration import langfuse_manager
    from langfuse_integration.diagnosis import examine
    from {module} import {name}
    from langchain_core.messages import AIMessage
    from langchain_core.language_models import GenericFakeChatModel

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools, **options):
            return self

    USAGE = {{"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}}

    @observe()
    def helper():
        pass

    def search(city: str) -> str:
        "Search."
        helper()
        return "Sunny."

    ours = langfuse_integration_langchain if "langchain" in "{module}" else langfuse_integration_llamaindex
    both = [ours.instrument, {name}().instrument]
    for instrument in both if "{order}" == "ours first" else both[::-1]:
        instrument()
"""
LANGCHAIN = """
    from langchain.agents import create_agent

    def agent():
        call = {"name": "search", "args": {"city": "Rome"}, "id": "c1"}
        answers = [AIMessage("", tool_calls=[call], usage_metadata=USAGE), AIMessage("Sunny.", usage_metadata=USAGE)]
        return create_agent(Model(messages=iter(answers)), [search], name="weather")

    question = {"messages": [("user", "Weather?")]}
    with langfuse_manager.session("s-1", user_id="u-1"):
        agent().invoke(question)
        asyncio.run(agent().ainvoke(question))
"""
LLAMAINDEX = """
    import sys
    sys.path.insert(0, {tests!r})
    from llama_index.core.agent.workflow import FunctionAgent
    from llamaindex.scripted import ScriptedLLM, call, tool

    async def run():
        llm = ScriptedLLM([call("search", {{"city": "Rome"}}), "Sunny."])
        await FunctionAgent(name="weather", tools=[tool(search)], llm=llm).run("Weather?")

    with langfuse_manager.session("s-1", user_id="u-1"):
        asyncio.run(run())
        asyncio.run(run())
"""
END = """
    print(langfuse_manager.flush(20))
    print([found.cure for found in examine() if found.wrong])
"""


@pytest.mark.langchain
@pytest.mark.application
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
        ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    ],
)
def test_another_instrumentor_of_langchain_gives_way(module: str, name: str, order: str, receiver: Receiver) -> None:
    """Agents, sync and async: our tree alone, tokens once, one warning and one finding of doctor with the cure."""
    pytest.importorskip(module)
    printed = run_fresh(BEGIN.format(module=module, name=name, order=order) + LANGCHAIN + END, receiver.environment())
    said, warned = printed.split("[stderr]")
    assert said.splitlines()[:2] == [
        "FlushResult(delivered=10, pending=0, lost=0)",
        f"['Remove {name}().instrument().']",
    ]
    assert warned.count("and this package record the same runs of LangChain") == 1
    assert name in warned
    receiver.wait_for(10)
    assert receiver.trees() == [("weather", ("Model",), ("search", ("helper",)), ("Model",))] * 2
    usage = [span.attributes.get("langfuse.observation.usage_details") for span in receiver.spans]
    assert [json.loads(one) for one in usage if one] == [{"input": 5, "output": 7}] * 4
    assert {(span.attributes["session.id"], span.attributes["user.id"]) for span in receiver.spans} == {("s-1", "u-1")}


@pytest.mark.langchain
@pytest.mark.llamaindex
@pytest.mark.application
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
@pytest.mark.parametrize(
    "family", ["openinference.instrumentation.llama_index", "opentelemetry.instrumentation.llamaindex"]
)
def test_another_instrumentor_of_llamaindex_gives_way(
    family: str, order: str, receiver: Receiver, pytestconfig: pytest.Config
) -> None:
    """Agents of LlamaIndex: our tree alone, one warning and one finding of doctor with the cure."""
    pytest.importorskip(family)
    name = "LlamaIndexInstrumentor"
    code = BEGIN.format(module=family, name=name, order=order) + LLAMAINDEX.format(
        tests=str(pytestconfig.rootpath / "tests")
    )
    printed = run_fresh(code + END, receiver.environment())
    said, warned = printed.split("[stderr]")
    assert said.splitlines()[:2] == [
        "FlushResult(delivered=10, pending=0, lost=0)",
        f"['Remove {name}().instrument().']",
    ]
    assert warned.count("and this package record the same runs of LlamaIndex") == 1
    receiver.wait_for(10)
    assert receiver.trees() == [("weather", ("ScriptedLLM",), ("search", ("helper",)), ("ScriptedLLM",))] * 2
    assert {(span.attributes["session.id"], span.attributes["user.id"]) for span in receiver.spans} == {("s-1", "u-1")}


CUSTOMISED = """
    from langfuse import Langfuse
    Langfuse(mask=lambda *, data, **_: "masked" if data == "Sunny." else data)
"""


@pytest.mark.langchain
@pytest.mark.application
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
        ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    ],
)
def test_an_instrumentor_gives_way_in_a_customised_client(module: str, name: str, receiver: Receiver) -> None:
    """A client with a mask delivers our tree alone: none of the instrumentor's spans, and tokens once."""
    pytest.importorskip(module)
    begin = BEGIN.format(module=module, name=name, order="ours first").replace("    get_client()\n", CUSTOMISED, 1)
    printed = run_fresh(begin + LANGCHAIN + END + "    get_client().flush()\n", receiver.environment())
    receiver.wait_for(10)
    assert receiver.trees() == [("weather", ("Model",), ("search", ("helper",)), ("Model",))] * 2
    assert receiver.doubled() == {}
    usage = [span.attributes.get("langfuse.observation.usage_details") for span in receiver.spans]
    assert [json.loads(one) for one in usage if one] == [{"input": 5, "output": 7}] * 4
    assert {(span.attributes["session.id"], span.attributes["user.id"]) for span in receiver.spans} == {("s-1", "u-1")}
    assert f"['Remove {name}().instrument().']" in printed
    assert printed.count("and this package record the same runs of LangChain") == 1
