"""The gate before an endpoint: order, places, the one retry, and what happens when the endpoint is away."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgt_rag.breaker import Breaker
from dgt_rag.dice import Dice
from dgt_rag.errors import Busy, EndpointDown, Exhausted, ModelError
from dgt_rag.gate import Allowance, Gate
from dgt_rag.guard import Guard, Guards
from dgt_rag.limiter import Limits
from dgt_rag.retry import RetryPolicy

FAST = RetryPolicy(attempts=3, first_wait=0.001, timeout=5.0, dead_after=0.6, refused_after=0.3)


def guard(in_flight: int = 4, policy: RetryPolicy = FAST, said: list[str] | None = None) -> Guard:
    lines = [] if said is None else said
    return Guard("test", policy, Gate("test", policy, Limits(in_flight=in_flight), lines.append))


async def test_waiting_calls_are_let_through_by_priority_then_by_arrival():
    gate, order = guard(1), list[str]()

    async def attempt(name: str) -> None:
        order.append(name)
        await asyncio.sleep(0.001)

    names = {"first": (5,), "late": (9,), "soon": (1,), "soon too": (1,), "between": (4,)}
    async with asyncio.TaskGroup() as group:
        for name, priority in names.items():
            group.create_task(gate.call(lambda name=name: attempt(name), lambda rank=priority: rank))
    assert order == ["first", "soon", "soon too", "between", "late"]


async def test_an_order_that_changes_holds_for_those_that_wait_already():
    gate, order, turned = guard(1), list[int](), False

    async def attempt(number: int) -> None:
        nonlocal turned
        order.append(number)
        turned = number == 1 or turned
        await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(gate.call(lambda n=n: attempt(n), lambda n=n: (-n if turned else n,)))
    assert order == [0, 1, 4, 3, 2]


async def test_one_that_was_cancelled_and_comes_first_in_a_new_order_takes_no_place():
    gate, turned, ended = guard(1), False, list[int]()

    async def attempt(number: int) -> None:
        await asyncio.sleep(0.01)
        ended.append(number)

    calls = [
        asyncio.create_task(gate.call(lambda n=n: attempt(n), lambda n=n: (-n if turned else n,))) for n in range(4)
    ]
    await asyncio.sleep(0)
    turned = True
    calls[3].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert ended == [0, 2, 1]
    assert gate.limiter.in_flight == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 5))
def test_no_place_is_lost_or_used_twice_whoever_is_cancelled(cancelled: list[int], places: int):
    async def scene() -> None:
        gate, inside, most = guard(places), 0, 0

        async def attempt() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                inside -= 1

        tasks = [asyncio.create_task(gate.call(attempt, lambda n=n: (n,))) for n in range(31)]
        for n in cancelled:
            await asyncio.sleep(0)
            tasks[n].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= places
        assert (gate.limiter.in_flight, gate.gate.waiting) == (0, 0)
        await gate.call(attempt)

    asyncio.run(scene())


async def test_429_uses_up_no_attempts():
    gate, tries = guard(), 0

    async def attempt() -> str:
        nonlocal tries
        tries += 1
        if tries <= 8:
            raise Busy("rate_limit", "slow down", 0.001)
        return "done"

    assert await gate.call(attempt) == "done"
    assert gate.gate.outcomes == {"rate_limit": 8, "ok": 1}


async def test_nothing_but_429_ends_in_time_and_says_so():
    async def attempt() -> None:
        raise Busy("rate_limit", "slow down", 0.01)

    with pytest.raises(EndpointDown, match="nothing but 429"):
        await asyncio.gather(*(guard().call(attempt) for _ in range(1)))


def test_nothing_but_429_is_told_once_after_some_seconds_with_the_reason():
    said: list[str] = []
    breaker = Breaker("there", RetryPolicy(), said.append)
    for now in (0.0, 9.0, 11.0, 12.0):
        breaker.ended(now, "rate_limit", "there: slow down")
    assert said == ["there: slow down; nothing but 429 for 11 s; waiting up to 900 s"]


async def test_errors_use_up_the_attempts_of_their_own_call_alone():
    gate = guard()

    async def bad() -> None:
        raise Busy("server_error", "no luck")

    async def good() -> str:
        return "fine"

    with pytest.raises(Exhausted, match=r"no luck \(3 tries\)") as refused:
        await gate.call(bad)
    assert refused.value.kind == "server_error"
    assert await gate.call(good) == "fine"


async def test_a_call_that_hangs_ends_at_its_deadline():
    gate = guard(policy=RetryPolicy(attempts=2, first_wait=0.001, timeout=0.02))
    with pytest.raises(Exhausted, match=r"no answer in 0\.02 s") as refused:
        await gate.call(lambda: asyncio.sleep(60))
    assert refused.value.kind == "timeout"


async def test_what_an_attempt_refuses_for_good_goes_through_and_frees_the_place():
    gate = guard(1)

    async def attempt() -> None:
        raise ValueError("mine")

    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            await gate.call(attempt)
    assert gate.limiter.in_flight == 0


class Place:
    """An endpoint that can be away."""

    def __init__(self) -> None:
        self.there = True
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        await asyncio.sleep(0.001)
        if not self.there:
            raise Busy("connection", "test: nothing listens there")
        return "fine"


async def test_an_endpoint_that_was_away_loses_no_call_and_is_not_hammered():
    place, said = Place(), list[str]()
    gate = guard(8, RetryPolicy(attempts=2, first_wait=0.001, dead_after=30), said)
    await gate.call(place)
    place.there, place.tries = False, 0
    calls = [asyncio.create_task(gate.call(place)) for _ in range(50)]
    await asyncio.sleep(2.0)
    assert place.tries < 20
    place.there = True
    assert await asyncio.gather(*calls) == ["fine"] * 50
    assert said[0].split(";")[0] == "test: nothing listens there"
    assert "answers again" in said[-1]
    assert len(said) == 2


async def test_an_endpoint_that_stays_away_ends_every_call_with_one_line():
    place = Place()
    gate = guard()
    await gate.call(place)
    place.there = False
    ends = await asyncio.gather(*(gate.call(place) for _ in range(20)), return_exceptions=True)
    assert {type(end) for end in ends} == {EndpointDown}
    assert all("the run can be resumed" in str(end) for end in ends)


async def test_an_impatient_call_that_waits_leaves_when_the_endpoint_goes_away_and_a_patient_one_stays():
    policy = RetryPolicy(attempts=3, first_wait=0.001, dead_after=30.0)
    gate, back = guard(1, policy), False

    async def attempt() -> str:
        await asyncio.sleep(0.001)
        if not back:
            raise Busy("connection", "nothing listens there")
        return "served"

    async with asyncio.timeout(20):
        first = asyncio.create_task(gate.call(attempt))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(gate.call(attempt, patient=number == 0)) for number in range(6)]
        left = await asyncio.gather(*waiting[1:], return_exceptions=True)
        assert [type(error) for error in left] == [EndpointDown] * 5
        back = True
        assert [await first, await waiting[0]] == ["served", "served"]
    assert gate.gate.waiting == 0


async def test_an_impatient_call_leaves_an_endpoint_that_is_away_at_once():
    place = Place()
    gate = guard(policy=RetryPolicy(attempts=9, first_wait=0.001, dead_after=600))
    await gate.call(place)
    place.there = False
    with pytest.raises(EndpointDown):
        await gate.call(place, patient=False)
    assert gate.down


async def test_tasks_of_one_command_share_the_guard_of_an_endpoint():
    guards = Guards()
    assert guards.of("one") is guards.of("one", RetryPolicy(attempts=1))
    assert guards.of("one") is not guards.of("two")
    assert guards.waiting == 0


async def test_of_the_limits_that_tasks_of_one_command_declare_for_an_endpoint_the_tightest_hold():
    guards = Guards()
    limiter = guards.of("one", limits=Limits(in_flight=8, rpm=600)).limiter
    guards.of("one", limits=Limits())
    assert (limiter.limit, limiter.limits) == (8, Limits(in_flight=8, rpm=600))
    guards.of("one", limits=Limits(in_flight=3, rps=5))
    assert (limiter.limit, limiter.limits) == (3, Limits(in_flight=3, rpm=600, rps=5))
    guards.of("one", limits=Limits(in_flight=20))
    assert (limiter.limit, limiter.ceiling) == (3, 3)


async def test_a_call_that_is_refused_by_name_is_counted_by_that_name_and_shows_that_the_endpoint_is_there():
    gate = guard(policy=RetryPolicy(attempts=9, first_wait=0.001))

    async def refused() -> None:
        raise ModelError("content_filter", "no")

    for _ in range(3):
        with pytest.raises(ModelError):
            await gate.call(refused)
    assert gate.gate.outcomes == {"content_filter": 3}
    assert gate.limiter.in_flight == 0


async def test_an_allowance_holds_calls_back_at_all_endpoints_that_keep_to_it_until_they_forget_it():
    place, allowance, another = Place(), Allowance(), Allowance()
    guards = [guard(), guard()]
    allowance.calls, another.calls = 3, 5
    for one in guards:
        one.gate.keep_to(allowance)
        one.gate.keep_to(another)
    calls = [asyncio.create_task(guards[n % 2].call(place)) for n in range(6)]
    await asyncio.sleep(0.05)
    assert sum(one.gate.outcomes["ok"] for one in guards) == 3
    assert (allowance.calls, another.calls, sum(one.gate.waiting for one in guards)) == (0, 2, 3)
    for one in guards:
        one.gate.forget(allowance)
    await asyncio.sleep(0.05)
    assert (another.calls, sum(one.gate.waiting for one in guards)) == (0, 1)
    for one in guards:
        one.gate.forget(another)
    await asyncio.gather(*calls)
    assert sum(one.gate.outcomes["ok"] for one in guards) == 6


@given(
    st.integers(1, 5000), st.none() | st.floats(0, 1e9), st.floats(0.001, 10), st.floats(0.001, 100), st.integers(0, 99)
)
def test_a_wait_is_never_shorter_than_ones_own_and_never_much_longer_than_the_longest(
    tries: int, asked: float | None, first: float, longest: float, seed: int
):
    policy = RetryPolicy(first_wait=first, max_wait=longest)
    own = policy.wait(tries, None, Dice(seed))
    wait = policy.wait(tries, asked, Dice(seed))
    assert own <= wait <= 1.5 * longest
    assert min(first * 2.0 ** min(tries - 1, 20), longest) * 0.5 <= own
    if asked is not None and asked <= longest:
        assert wait >= asked
