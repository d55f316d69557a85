"""Metrics of many processes in one answer, over a real Redis."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from redis import Redis

from embedded.servers import Valkey
from telemetry.snapshots import Publisher, exposition, merged
from worker import queue


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    with queue.connect(valkey.url) as client:
        client.flushdb()
        yield client


def registry(count: int) -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("lookahead_things", "Things", ["kind"], registry=made).labels('a "b"\n').inc(count)
    Histogram("lookahead_seconds", "Seconds", buckets=(1,), registry=made).observe(count)
    return made


def text_of(publisher: Publisher) -> list[str]:
    return exposition(publisher.everything()).decode().splitlines()


def test_whoever_is_asked_answers_for_all(redis: Redis) -> None:
    one, two, worker = (
        Publisher(redis, role, registry(k + 1)) for k, role in enumerate(("service", "service", "worker"))
    )
    for publisher in (one, two, worker):
        publisher.publish()
    assert [publisher.name for publisher in (one, two, worker)] == ["service-1", "service-2", "worker-1"]
    assert sorted(text_of(one)) == sorted(text_of(two))
    lines = text_of(worker)
    for process, count in (("service-1", 1), ("service-2", 2), ("worker-1", 3)):
        assert f'lookahead_things_total{{kind="a \\"b\\"\\n",process="{process}"}} {count}.0' in lines
        assert f'lookahead_seconds_bucket{{le="+Inf",process="{process}"}} 1.0' in lines
        assert f'lookahead_seconds_sum{{process="{process}"}} {count}.0' in lines
    assert lines.count("# TYPE lookahead_things_total counter") == 1
    assert not any("_created" in line for line in lines)


def test_its_own_values_are_live(redis: Redis) -> None:
    made = CollectorRegistry()
    gauge = Gauge("lookahead_level", "Level", registry=made)
    publisher = Publisher(redis, "service", made)
    publisher.publish()
    gauge.set(7)
    assert 'lookahead_level{process="service-1"} 7.0' in text_of(publisher)


def test_what_ends_vanishes_and_its_name_is_free(redis: Redis) -> None:
    service, worker = Publisher(redis, "service", registry(1)), Publisher(redis, "worker", registry(1))
    service.publish()
    worker.publish()
    worker.stop()
    assert not any("worker-1" in line for line in text_of(service))
    successor = Publisher(redis, "worker", registry(1))
    successor.publish()
    assert successor.name == "worker-1"
    # Killed: nothing says good-bye, and what it left expires.
    assert 0 < redis.ttl("lookahead:metrics:worker-1") <= 15
    redis.delete("lookahead:metrics:worker-1")
    assert not any("worker-1" in line for line in text_of(service))
    assert redis.smembers("lookahead:metrics") == {b"service-1"}


def test_a_wiped_redis_is_filled_again_and_names_stay_distinct(redis: Redis) -> None:
    one, two = Publisher(redis, "worker", registry(1)), Publisher(redis, "worker", registry(2))
    one.publish()
    two.publish()
    redis.flushdb()
    newcomer = Publisher(redis, "worker", registry(3))
    newcomer.publish()
    assert newcomer.name == "worker-1"
    two.publish()
    one.publish()
    assert (one.name, two.name) == ("worker-3", "worker-2")


def test_without_redis_its_own_values_are_given() -> None:
    publisher = Publisher(queue.connect("unix:///nowhere.sock"), "service", registry(4))
    assert 'lookahead_seconds_sum{process="service"} 4.0' in text_of(publisher)
    publisher.stop()


def test_it_publishes_by_itself(redis: Redis) -> None:
    publisher = Publisher(redis, "worker", registry(1))
    publisher.start()
    service = Publisher(redis, "service", registry(1))
    for _ in range(200):
        if service.others():
            break
    assert [name for name, _ in service.others()] == ["worker-1"]
    publisher.stop()
    assert service.others() == []


def test_another_version_cannot_spoil_the_answer(redis: Redis) -> None:
    other = CollectorRegistry()
    Gauge("lookahead_things", "Things, but a gauge", registry=other).set(1)
    families = merged([("new-1", registry(1).collect()), ("old-1", other.collect())])
    lines = exposition(families).decode()
    assert "new-1" in lines
    assert "old-1" not in lines
