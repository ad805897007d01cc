"""The live block of DiGiT's documents, run as printed on a real server that speaks TLS and asks for a login."""

import asyncio
import errno
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from building import DIGIT_LIVE
from faulty_proxy import Proxy, basic, faulty

ROOT = Path(__file__).parents[2]
SEEDS = ROOT.parent / "shared" / "seeds"
ENGINE = "tools.engines.es_retriever"


@asynccontextmanager
async def at_the_printed_address(upstream: int, tls: ssl.SSLContext) -> AsyncIterator[tuple[Proxy, list[str]]]:
    """Serve TLS at the address in the block; where another program has that port, at a free one, told as an override."""
    for port in (9200, 0):
        try:
            async with faulty(upstream, tls, port) as proxy:
                yield proxy, [] if port else [f"{ENGINE}.hosts=[{proxy.url}]"]
                return
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise


async def program(folder: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command line; return its exit code and what it said on standard error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "dgt_rag", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def folder(newest, tmp_path) -> Path:
    """The block as a task file, with documents to load beside it, named as the corpus format of DiGiT's documents has it."""
    (tmp_path / "live.yaml").write_text(DIGIT_LIVE, encoding="utf-8")
    corpus = ROOT / "data" / "city_services" / "documents.jsonl"
    (tmp_path / "documents.jsonl").write_bytes(corpus.read_bytes())
    return tmp_path


@pytest.mark.skipif(not SEEDS.exists(), reason=f"needs DiGiT's document on RAG in {SEEDS}")
def test_the_block_run_here_is_the_one_printed_there():
    printed = next(SEEDS.glob("003*")).read_text(encoding="utf-8").splitlines()
    # the document at hand has lost its indentation, so lines are compared without
    block = [line.strip() for line in DIGIT_LIVE.splitlines()]
    start = printed.index("Live mode (Elasticsearch)") + 1
    assert [line.strip() for line in printed[start : start + len(block)]] == block


async def test_the_live_block_of_digit_runs_as_printed_on_a_real_server(newest, folder):
    authority, served = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(served)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    trust = {"SSL_CERT_FILE": str(folder / "authority.pem")}
    async with at_the_printed_address(newest.port, served) as (proxy, where):
        code, said = await program(folder, "live.yaml", *where, **trust)
        assert code == 3 and "unknown index 'my_index'" in said and "--engine NAME --from FILE" in said
        code, said = await program(folder, "index", "live.yaml", *where, "--engine", "es_retriever", **trust)
        assert (code, said) == (2, "where are the documents? name a file of them with --from\n")
        load = ("index", "live.yaml", *where, "--engine", "es_retriever", "--from", "documents.jsonl")
        code, said = await program(folder, *load, **trust)
        assert code == 0 and "documents added, 0 were there" in said
        code, said = await program(folder, "live.yaml", *where, **trust)
        assert code == 0, said
        await refused_and_let_in(folder, proxy, where, trust)
    talks = [json.loads(line) for line in (folder / "output/live/final_data.jsonl").read_text().splitlines()]
    known = {json.loads(line)["id"] for line in (folder / "documents.jsonl").read_text().splitlines()}
    assert len(talks) == 10
    for talk in talks:
        found = [s["content"]["result"] for s in talk["steps"] if s["role"] == "tool_result"]
        assert found and {hit["doc_id"] for hits in found for hit in hits or ()} <= known
        assert len(talk["steps"][0]["documents"]) == 5


async def refused_and_let_in(folder: Path, proxy: Proxy, where: list[str], trust: dict[str, str]) -> None:
    """Ask a server that nobody vouches for, one that wants a login, and one whose login stands in the environment."""
    code, said = await program(folder, "check", "live.yaml", *where)
    assert code == 3 and "name the authority's file in `ca_certs`" in said
    proxy.logins = frozenset({basic("elastic", "hunter2")})
    code, said = await program(folder, "check", "live.yaml", *where, **trust)
    assert code == 3 and "we are not let in (401" in said and "`password_env`" in said
    login = (f"{ENGINE}.username=elastic", f"{ENGINE}.password_env=ES_PASSWORD")
    code, said = await program(folder, "check", "live.yaml", *where, *login, **trust)
    assert (code, said) == (2, "search/elasticsearch: the environment variable ES_PASSWORD is not set\n")
    assert await program(folder, "check", "live.yaml", *where, *login, ES_PASSWORD="hunter2", **trust) == (0, "")


async def test_a_file_whose_fields_are_named_as_the_index_names_them_is_loaded_as_well(newest, folder):
    name = folder.name.replace("_", "-").lower()
    rows = [{"_id": f"d{n}", "content": f"Rule {n} of the house.", "title": f"Rule {n}", "floor": n} for n in range(7)]
    (folder / "rules.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    at = (f"{ENGINE}.hosts=[{newest.url}]", f"{ENGINE}.default_index={name}", "--engine", "es_retriever", "--from")
    code, said = await program(folder, "index", "live.yaml", *at, "rules.jsonl")
    assert (code, said) == (0, f"index {name!r}: 7 documents added, 0 were there\n")
    nested = [{"key": {"id": row["_id"]}, "page": {"text": row["content"]}} for row in rows]
    nested[1]["page"]["head"] = "Rule 1"
    (folder / "nested.jsonl").write_text("".join(json.dumps(row) + "\n" for row in nested), encoding="utf-8")
    paths = f"{ENGINE}.projection={{doc_id: key.id, body: page.text, title: page.head, domain: ''}}"
    other = (at[0], f"{ENGINE}.default_index={name}-nested", *at[2:], "nested.jsonl", paths)
    code, said = await program(folder, "index", "live.yaml", *other)
    assert (code, said) == (0, f"index {f'{name}-nested'!r}: 7 documents added, 0 were there\n")
    code, said = await program(folder, "index", "live.yaml", *at, "rulez.jsonl")
    assert (code, said) == (2, "--from: no such file, and unknown engine 'rulez.jsonl'; there are: es_retriever\n")
