"""Real servers of three generations, started once; skipped where there is no Java, except where they are required."""

import os
from collections.abc import Iterator

import pytest
from launcher import GENERATIONS, CannotStart, Node


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Node]]:
    started = {major: Node(major, tmp_path_factory.mktemp(f"elasticsearch-{major}")) for major in GENERATIONS}
    try:
        for node in started.values():
            node.launch()
        for node in started.values():
            node.wait()
        yield started
    except CannotStart as missing:
        required = os.environ.get("CI") or os.environ.get("DGT_REQUIRE_ELASTICSEARCH")
        (pytest.fail if required else pytest.skip)(f"no real Elasticsearch: {missing}", pytrace=False)
    finally:
        for node in started.values():
            node.stop()


@pytest.fixture(params=sorted(GENERATIONS), ids=lambda major: f"server-{major}")
def node(request: pytest.FixtureRequest, nodes: dict[int, Node]) -> Node:
    return nodes[request.param]


@pytest.fixture
def newest(nodes: dict[int, Node]) -> Node:
    return nodes[max(nodes)]
