"""How long a drawing still takes, by a clock of the test's own."""

from __future__ import annotations

import pytest

from spatialguide.web.pace import Pace, in_words, share


def test_the_time_left_follows_the_steps_that_are_done() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    left = []
    for what in ("drawing unguided", "drawing guided"):
        for done in range(1, 5):
            now[0] += 2.0
            left.append(pace.left(what, done, 4))
    assert left[0] is None  # nothing is known of the first step
    assert left[1] == 2.0 * (2 + 1.5 * 4)
    assert left[3] == 2.0 * 1.5 * 4
    assert left[4] is None
    assert left[5:] == [4.0, 2.0, 0.0]


def test_what_has_no_steps_has_no_estimate() -> None:
    pace = Pace(lambda: 1.0)
    assert pace.left("loading the model", 0, 0) is None
    assert share("loading the model", 0, 0) is None
    assert share("drawing", 1, 4) == 0.25


def test_candidates_that_begin_anew_are_no_fault() -> None:
    pace = Pace(iter(range(100)).__next__)
    assert pace.left("drawing guided", 3, 4) is None
    assert pace.left("drawing guided", 1, 4) is None
    assert pace.left("drawing guided", 2, 4) == 2.0


@pytest.mark.parametrize(
    ("what", "done", "part"), [("drawing unguided", 4, 0.4), ("drawing guided", 2, 0.7), ("drawing guided", 4, 1)]
)
def test_both_images_are_one_bar(what: str, done: int, part: float) -> None:
    assert share(what, done, 4) == pytest.approx(part)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s"), (7.4, "about 7 s"), (43, "about 45 s"), (100, "about 2 min"), (3600, "about 60 min")],
)
def test_it_is_said_no_more_exactly_than_it_is_known(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
