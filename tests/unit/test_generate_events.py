import itertools
import json
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from supervisor.generate.events import KEYS, events
from supervisor.generate.malformed import KINDS, kind

NOW = 1_700_000_000  # 2023-11-14 22:13:20 UTC
FIELDS = {"user_id", "app_version", "device_type", "ip", "locale", "device_id", "timestamp"}
GOOD = b'{"user_id":"u","app_version":"2.3.0","locale":"TX","timestamp":1700000000}'


def take(number, seed=1, **options):
    return list(itertools.islice(events(seed, clock=lambda: NOW, **options), number))


@pytest.fixture(scope="module")
def decoded():
    return [json.loads(value) for _, value in take(20_000)]


def test_the_same_seed_gives_the_same_events_and_another_seed_others():
    options = {"key": "locale", "bad": 0.1, "timestamps": "day"}
    assert take(2_000, seed=7, **options) == take(2_000, seed=7, **options)
    assert take(2_000, seed=7, **options) != take(2_000, seed=8, **options)


def test_most_events_have_every_field_and_no_other(decoded):
    assert set().union(*decoded) == FIELDS
    complete = sum(set(event) == FIELDS for event in decoded)
    assert 0.9 < complete / len(decoded) < 0.97


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_any_field_is_absent_or_null_now_and_then(decoded, field):
    assert any(field not in event and len(event) == 6 for event in decoded)
    assert any(event.get(field, "") is None for event in decoded)


def test_an_event_may_have_no_field_at_all(decoded):
    assert {} in decoded


def test_fields_look_as_they_do_in_the_real_input(decoded):
    for event in decoded:
        if event.get("user_id"):
            UUID(event["user_id"])
        if event.get("app_version"):
            assert re.match(r"\d+\.\d+\.\d+", event["app_version"])
    devices = [event["device_id"] for event in decoded if event.get("device_id")]
    assert any(re.fullmatch(r"\d{3}-\d{2}-\d{4}", device) for device in devices)
    assert any(len(device) == 36 for device in devices)
    locales = Counter(event.get("locale") for event in decoded)
    assert 0 < locales["RU"] < locales["CA"]
    assert all(len(locale) == 2 for locale in locales if locale)


def test_a_timestamp_is_now_as_a_number_or_now_and_then_as_digits(decoded):
    kinds = Counter(type(event["timestamp"]).__name__ for event in decoded if event.get("timestamp"))
    assert {int(event["timestamp"]) for event in decoded if event.get("timestamp")} == {NOW}
    assert 0.05 < kinds["str"] / kinds.total() < 0.2


def test_timestamps_over_a_day_fill_it_and_favour_the_evening():
    stamps = [
        int(event["timestamp"])
        for _, value in take(20_000, timestamps="day")
        if (event := json.loads(value)).get("timestamp")
    ]
    assert NOW - 86_400 < min(stamps) < NOW - 80_000
    assert NOW - 5_000 < max(stamps) <= NOW
    hours = Counter(datetime.fromtimestamp(stamp, UTC).hour for stamp in stamps)
    assert set(hours) == set(range(24))
    assert sum(hours[h] for h in (18, 19, 20, 21)) > 2 * sum(hours[h] for h in (0, 1, 2, 3))


@pytest.mark.parametrize("key", KEYS)
def test_the_key_is_the_named_fields_value_or_nothing(key):
    for given, value in take(5_000, key=key):
        wanted = json.loads(value).get(key)
        assert given == (wanted.encode() if wanted is not None else None)


def test_the_share_of_bad_events_is_as_asked_and_every_kind_gets_its_turn():
    tally = Counter()
    take(20_000, bad=0.05, tally=tally)
    assert 800 < tally.total() < 1_200
    assert set(tally) == {kind.name for kind in KINDS}
    assert max(tally.values()) - min(tally.values()) <= 1


def test_no_event_is_bad_unless_asked_and_every_one_if_asked():
    tally = Counter()
    take(2_000, tally=tally)
    assert tally.total() == 0
    take(200, bad=1.0, tally=tally)
    assert tally.total() == 200


def _is_document(value):
    try:
        return isinstance(json.loads(value.decode()), dict)
    except (ValueError, AttributeError):
        return False


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_says_truly_whether_it_is_one_json_object(kind):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        for seed in range(50):
            assert _is_document(kind.make(Random(seed), GOOD)) == kind.document
    finally:
        sys.setrecursionlimit(limit)


def test_names_of_kinds_are_unique_and_can_be_looked_up():
    assert [kind(each.name) for each in KINDS] == list(KINDS)
    with pytest.raises(KeyError):
        kind("good")


def test_the_documentation_names_every_kind_and_whether_it_is_a_document():
    page = (Path(__file__).parents[2] / "docs" / "generator.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(each.name, "yes" if each.document else "no", each.why) for each in KINDS]
