"""The limiter as a machine: its laws whatever happens, and what it finds on servers of different kinds."""

import heapq
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from dgt_rag.limiter import CEILING, Limiter, Limits, Ticket, Work

EVENTS = st.lists(st.sampled_from(["start", "ok", "refused", "failed", "cancelled", "wait"]), max_size=300)


@given(EVENTS, st.none() | st.integers(1, 200), st.sampled_from([None, 0.5, 3.0]))
def test_it_never_goes_beyond_the_ceiling_and_conserves_places(
    events: list[str], ceiling: int | None, pause: float | None
):
    limiter, now, held = Limiter(Limits(in_flight=ceiling)), 0.0, list[Ticket]()
    for event in events:
        now += 0.1
        if event == "start" and limiter.delay(now) == 0:
            held.append(limiter.start(now))
        elif event == "refused" and held:
            limiter.refuse(held.pop(0), now, pause)
        elif event in ("ok", "failed", "cancelled") and held:
            limiter.end(held.pop(0), now, event, Work(10))  # type: ignore[arg-type]
        assert 1 <= limiter.limit <= (ceiling or CEILING)
        assert limiter.in_flight == len(held)
    for ticket in held:
        limiter.end(ticket, now, "cancelled")
    assert limiter.in_flight == 0
    # whatever happened, a call gets through in the end, and soon
    assert (limiter.delay(now + 60.0) or 0.0) == 0.0


@given(st.integers(2, 64), st.integers(1, 64))
def test_one_burst_cuts_once(in_flight: int, refused: int):
    limiter = Limiter(Limits())
    tickets = [limiter.start(0.0) for _ in range(in_flight)]
    for ticket in tickets[:refused]:
        limiter.refuse(ticket, 1.0)
    assert limiter.limit == 48
    assert [change.reason for change in limiter.history] == ["start", "429"]


def test_a_pause_is_set_by_the_refusal_that_cuts_and_not_drawn_out_by_the_others():
    limiter = Limiter(Limits(in_flight=64))
    tickets = [limiter.start(0.0) for _ in range(64)]
    for number, ticket in enumerate(tickets):
        limiter.refuse(ticket, 1.0 + number, 5.0)
    assert limiter.delay(70.0) == 0.0


def test_errors_of_the_server_stop_the_growth_but_do_not_cut():
    limiter = Limiter(Limits())
    for wave in range(20):
        tickets = [limiter.start(wave) for _ in range(limiter.limit)]
        limiter.end(tickets[0], wave + 0.5, "failed")
        for ticket in tickets[1:]:
            limiter.end(ticket, wave + 0.5, "ok")
    assert limiter.limit == 64


def test_declared_rates_hold():
    limiter, now, started = Limiter(Limits(rps=5)), 0.0, 0
    while now < 20:
        delay = limiter.delay(now)
        if delay == 0:
            limiter.end(limiter.start(now), now, "ok")
            started += 1
        else:
            now += max(delay or 0.0, 1e-6)
    assert 95 <= started <= 106


def test_declared_tokens_hold_though_they_are_known_only_afterwards():
    limiter, now, spent = Limiter(Limits(output_tpm=6000)), 0.0, 0.0
    while now < 60:
        delay = limiter.delay(now)
        if delay == 0:
            limiter.end(limiter.start(now), now, "ok", Work(output=100))
            spent += 100
        else:
            now += max(delay or 0.0, 1e-6)
    assert 5500 <= spent <= 6500


Serve = Callable[[int], float]
Refuse = Callable[[int, int, float], bool]


def never(number: int, in_flight: int, now: float) -> bool:
    del number, in_flight, now
    return False


def driven(serve: Serve, refuse: Refuse = never, seconds: float = 60.0) -> tuple[Limiter, float, float]:
    """Keep a simulated server saturated; return the limiter, the calls done in a second, and the share refused."""
    limiter, now, done, refused = Limiter(Limits()), 0.0, 0, 0
    ends: list[tuple[float, int, Ticket, bool]] = []
    number = 0
    while now < seconds:
        while limiter.delay(now) == 0:
            number += 1
            ticket = limiter.start(now)
            bad = refuse(number, limiter.in_flight, now)
            # a little unevenness, as every real server has
            took = 0.02 if bad else serve(limiter.in_flight) * (0.95 + 0.1 * (number * 7919 % 101) / 100)
            heapq.heappush(ends, (now + took, number, ticket, bad))
        now, _, ticket, bad = heapq.heappop(ends)
        if bad:
            limiter.refuse(ticket, now)
            refused += now > seconds / 3
        else:
            limiter.end(ticket, now, "ok", Work(50))
            done += now > seconds / 3
    return limiter, done / (seconds * 2 / 3), refused / max(1, done)


def queueing(capacity: int, latency: float = 0.2) -> Serve:
    return lambda in_flight: latency * max(1.0, in_flight / capacity)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 400))
def test_a_server_that_only_queues_is_kept_busy_whatever_it_holds(capacity: int):
    limiter, rate, _ = driven(queueing(capacity))
    assert rate >= 0.9 * capacity / 0.2
    assert limiter.limit <= 8 * capacity


def test_a_server_that_slows_down_beyond_128_is_kept_near_it():
    def serve(in_flight: int) -> float:
        return 0.2 * max(1.0, (in_flight / 128) ** 2)

    _limiter, rate, _ = driven(serve)
    assert rate >= 0.9 * 128 / 0.2


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 200))
def test_a_server_that_says_429_is_kept_just_below_and_seldom_asked_for_more(allowed: int):
    limiter, rate, refused = driven(lambda _: 0.2, lambda number, in_flight, now: in_flight > allowed)
    assert rate >= 0.88 * allowed / 0.2
    assert refused <= 0.02
    assert limiter.limit <= allowed * 1.1 + 1


def test_it_recovers_when_a_server_stops_saying_429():
    limiter, rate, _ = driven(lambda _: 0.2, lambda number, in_flight, now: now < 15 and in_flight > 8)
    assert limiter.limit >= 256
    assert rate >= 64 / 0.2


def test_429_that_do_not_depend_on_us_do_not_starve_the_run():
    _, rate, refused = driven(queueing(64), lambda number, in_flight, now: number * 7919 % 10 == 0)
    assert rate >= 0.75 * 64 / 0.2
    assert refused > 0.05
