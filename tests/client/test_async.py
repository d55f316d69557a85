"""The asynchronous SDK: made of the blocking one, with the same surface, and others go on while it waits."""

import asyncio
import inspect
import uuid
from pathlib import Path

import pytest

from api_schemas.jobs import Job
from client.aio import generate
from client.aio.sdk import AsyncClient
from client.errors import ApiError, UnreachableError
from client.sdk import Client
from embedded.supervisor import Supervisor
from tests import factories
from tests.api import names, vectors, weights


def test_what_is_committed_is_what_is_made() -> None:
    made = generate.generated()
    kept = {path.name: path.read_text() for path in generate.FOLDER.glob("*.py")}
    own = {"__init__.py", "generate.py", "waiting.py"}
    assert kept.keys() - own == made.keys()
    for name, text in made.items():
        assert kept[name] == text, f"client/aio/{name} is not what client/{name} makes: run `make client`"


def test_both_have_the_same_surface() -> None:
    public = {name: value for name, value in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"}
    for name, value in public.items():
        other = getattr(AsyncClient, name)
        assert inspect.signature(other).parameters.keys() == inspect.signature(value).parameters.keys(), name
        waits = inspect.isasyncgenfunction if inspect.isgeneratorfunction(value) else inspect.iscoroutinefunction
        assert waits(other), name


def test_from_empty_to_labeled(running: Supervisor, tmp_path: Path) -> None:
    project = f"p-{uuid.uuid4().hex[:8]}"
    stages: list[str] = []
    sent: list[int] = []

    async def told(job: Job) -> None:
        await asyncio.sleep(0)
        stages.append(job.status)

    async def of_bytes(done: int, total: int) -> None:
        sent.append(done)

    async def work() -> int:
        async with AsyncClient(running.url) as client:
            await client.create_project(project, ["a", "b", "c"])
            await client.upload_pool(project, vectors(20), names(20))
            (tmp_path / "w.safetensors").write_bytes(weights(factories.mlp(6, [16, 8], 3)))
            upload = await client.send_file(tmp_path / "w.safetensors", on_bytes=of_bytes)
            assert await client.upload_offset(upload) == sent[-1]
            await client.discard_upload(upload)
            job = await client.upload_checkpoint(project, tmp_path / "w.safetensors", "mlp", {"hidden": [16, 8]})
            await client.wait_for(job, told)
            seen = [found.status async for found in client.job_events(job.id)]
            assert seen == ["succeeded"]
            answers = await asyncio.gather(*(client.suggest(project, 1, annotator=name) for name in "abcd"))
            items = {answer.suggestions[0].item for answer in answers}
            assert len(items) == 4
            await asyncio.gather(*(client.label(project, item, "a") for item in items))
            assert [item.label async for item in client.items(project, "labeled")] == ["a"] * 4
            return (await client.project(project)).labels

    assert asyncio.run(work()) == 4
    assert stages[-1] == "succeeded"


def test_refusals_are_the_same(running: Supervisor) -> None:
    async def work() -> None:
        async with AsyncClient(running.url) as client:
            with pytest.raises(ApiError) as refused:
                await client.project("nowhere")
            assert refused.value.code == "unknown_project"
            with pytest.raises(ApiError) as refused:
                _ = [job async for job in client.job_events("job-1")]
            assert refused.value.code == "unknown_job"
        async with AsyncClient("http://127.0.0.1:9") as nobody:
            with pytest.raises(UnreachableError, match="lookahead up"):
                await nobody.alive()

    asyncio.run(work())
