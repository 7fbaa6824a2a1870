"""The login pipeline to the letter, from the bytes of the input to the bytes of the output."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import logins, pipeline
from workers.decode import Batch, Processor

PROCESSOR = Processor(pipeline.load("workers.logins"))

# 2023-11-14 00:00:00 UTC
MIDNIGHT = 1_699_920_000

COMPLETE = {
    "user_id": "424cdd21-063a-43a7-b91b-7ca1a833afae",
    "app_version": "2.3.0",
    "device_type": "android",
    "ip": "199.172.111.135",
    "locale": "RU",
    "device_id": "593-47-5928",
    "timestamp": 1_694_479_551,
}
FIELDS = list(COMPLETE)
PLACEHOLDERS = {
    "user_id": "missing_user_id",
    "app_version": "x.x",
    "device_type": "missing_device_type",
    "ip": "missing_ip",
    "locale": "missing_locale",
    "device_id": "missing_device_id",
    "timestamp": "missing_timestamp",
}
EAST = ["NY", "NJ", "PA", "MA", "CT", "RI", "VT", "NH", "ME", "DE", "MD", "VA", "WV", "NC", "SC", "GA", "FL"]
SOUTH = ["AL", "MS", "LA", "TX", "AR", "TN", "KY", "OK"]
MIDWEST = ["OH", "IN", "IL", "MI", "WI", "MN", "IA", "MO", "KS", "NE", "SD", "ND"]
WEST = ["CA", "OR", "WA", "NV", "AZ", "UT", "CO", "WY", "MT", "ID", "NM", "AK", "HI"]


def process(*values: bytes) -> Batch:
    return PROCESSOR.process(values)


def enriched(**changes: object) -> dict[str, Any]:
    """The output for a complete login with these fields changed."""
    batch = process(msgspec.json.encode({**COMPLETE, **changes}))
    assert batch.bad == []
    (payload,) = batch.payloads
    result: dict[str, Any] = msgspec.json.decode(payload)
    return result


def refused(timestamp: str) -> str:
    """The reason why a login with this timestamp, as it stands in the JSON, is not processed."""
    batch = process(b'{"user_id":"u","timestamp":%s}' % timestamp.encode())
    assert batch.payloads == []
    (bad,) = batch.bad
    return f"{bad.error_class}: {bad.error_text}"


def test_a_complete_login() -> None:
    assert process(msgspec.json.encode(COMPLETE)).payloads == [
        b'{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833afae","app_version":"2.3.0","device_type":"android",'
        b'"ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":"2023-09-12 00:45:51",'
        b'"region":"Unknown","time_flg":4}'
    ]


@pytest.mark.parametrize(
    ("state", "region"),
    [(state, "East") for state in EAST]
    + [(state, "South") for state in SOUTH]
    + [(state, "Midwest") for state in MIDWEST]
    + [(state, "West") for state in WEST],
)
def test_every_state_has_its_region(state: str, region: str) -> None:
    assert enriched(locale=state)["region"] == region


def test_there_are_fifty_states() -> None:
    assert len(set(EAST + SOUTH + MIDWEST + WEST)) == 50
    assert set(logins._REGION) == set(EAST + SOUTH + MIDWEST + WEST)


@pytest.mark.parametrize(
    "locale", ["RU", "DC", "PR", "ny", "Ny", " NY", "NY ", "", "missing_locale", "Ü", "\x00"]
)
def test_any_other_locale_is_unknown_and_kept(locale: str) -> None:
    output = enriched(locale=locale)
    assert (output["locale"], output["region"]) == (locale, "Unknown")


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_null_or_absent_gets_its_placeholder_and_the_others_stay(field: str) -> None:
    absent = {name: value for name, value in COMPLETE.items() if name != field}
    expected = {**enriched(), field: PLACEHOLDERS[field]}
    if field == "timestamp":
        expected["time_flg"] = None
    for given_ in (absent, {**COMPLETE, field: None}):
        (payload,) = process(msgspec.json.encode(given_)).payloads
        assert msgspec.json.decode(payload) == expected


def test_an_empty_login_is_all_placeholders_in_the_order_of_the_fields() -> None:
    assert process(b"{}").payloads == [
        b'{"user_id":"missing_user_id","app_version":"x.x","device_type":"missing_device_type","ip":"missing_ip",'
        b'"locale":"missing_locale","device_id":"missing_device_id","timestamp":"missing_timestamp",'
        b'"region":"Unknown","time_flg":null}'
    ]


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "timestamp"])
def test_an_empty_string_is_a_value_and_not_absent(field: str) -> None:
    assert enriched(**{field: ""})[field] == ""


@pytest.mark.parametrize(
    ("time", "period"),
    [
        ("00:00:00", 4),
        ("05:59:59", 4),
        ("06:00:00", 1),
        ("11:59:59", 1),
        ("12:00:00", 2),
        ("17:59:59", 2),
        ("18:00:00", 3),
        ("21:59:59", 3),
        ("22:00:00", 4),
        ("23:59:59", 4),
    ],
)
def test_the_periods_of_the_day_begin_and_end_to_the_second(time: str, period: int) -> None:
    hours, minutes, seconds = map(int, time.split(":"))
    output = enriched(timestamp=MIDNIGHT + hours * 3600 + minutes * 60 + seconds)
    assert (output["timestamp"], output["time_flg"]) == (f"2023-11-14 {time}", period)


@pytest.mark.parametrize(
    ("timestamp", "text", "period"),
    [
        ("0", "1970-01-01 00:00:00", 4),
        ("-1", "1969-12-31 23:59:59", 4),
        ("1694479551", "2023-09-12 00:45:51", 4),
        ('"1694479551"', "2023-09-12 00:45:51", 4),
        ('"  1694479551\\n"', "2023-09-12 00:45:51", 4),
        ('"+1694479551"', "2023-09-12 00:45:51", 4),
        ('"-1"', "1969-12-31 23:59:59", 4),
        ('"0000000000000000"', "1970-01-01 00:00:00", 4),
        ("1694479551.0", "2023-09-12 00:45:51", 4),
        ("1694479551.999", "2023-09-12 00:45:51", 4),
        ("-0.5", "1969-12-31 23:59:59", 4),
        ("1.694479551e9", "2023-09-12 00:45:51", 4),
        ("-62135596800", "0001-01-01 00:00:00", 4),
        ("253402300799", "9999-12-31 23:59:59", 4),
        ('"253402300799"', "9999-12-31 23:59:59", 4),
        ("4102444799", "2099-12-31 23:59:59", 4),
        ("951782400", "2000-02-29 00:00:00", 4),
    ],
)
def test_a_timestamp_is_written_out_in_utc(timestamp: str, text: str, period: int) -> None:
    batch = process(b'{"timestamp":%s}' % timestamp.encode())
    assert batch.bad == []
    output = msgspec.json.decode(batch.payloads[0])
    assert (output["timestamp"], output["time_flg"]) == (text, period)


@pytest.mark.parametrize(
    "timestamp",
    [
        '""',
        '" "',
        '"-"',
        '"abc"',
        '"1694479551.5"',
        '"1_000"',
        '"--1"',
        '"+-1"',
        '"1 2"',
        '"٣"',
        '"²"',
        '"0x10"',
        '"NaN"',
        '"Infinity"',
        '"2023-09-12 00:45:51"',
        '"' + "9" * 19 + '"',
        '"' + "9" * 100000 + '"',
    ],
)
def test_a_string_that_is_no_number_of_seconds_is_refused_and_quoted_in_short(timestamp: str) -> None:
    reason = refused(timestamp)
    assert reason.startswith("ValueError: timestamp ")
    assert reason.endswith("is not a number of seconds")
    assert len(reason) < 200


@pytest.mark.parametrize(
    "timestamp",
    [
        "-62135596801",
        "253402300800",
        '"253402300800"',
        "-62135596800.5",
        "253402300799.5",
        "1e300",
        "-1e300",
        "9223372036854775807",
        "18446744073709551615",
        "1694479551000",
        '"1694479551000"',
    ],
)
def test_a_timestamp_outside_the_calendar_is_refused(timestamp: str) -> None:
    assert "is outside the years 1 to 9999" in refused(timestamp)


@pytest.mark.parametrize("timestamp", ["true", "false", "[]", "{}", "[1]"])
def test_a_timestamp_of_another_type_is_refused(timestamp: str) -> None:
    reason = refused(timestamp)
    assert reason.startswith("ValidationError: ")
    assert "$.timestamp" in reason


@pytest.mark.parametrize(
    "timestamp", ["NaN", "Infinity", "-Infinity", "1e999", "01", "+1", "1.", ".5", "'1'"]
)
def test_a_number_that_json_does_not_have_is_refused(timestamp: str) -> None:
    assert refused(timestamp).startswith(("DecodeError: ", "ValidationError: "))


@given(st.integers() | st.text(max_size=30) | st.floats())
def test_whatever_the_timestamp_it_is_written_out_or_refused_and_never_a_crash(timestamp: object) -> None:
    event = logins.Event(timestamp=timestamp)  # type: ignore[arg-type]
    try:
        output, key = logins.enrich(event)
    except ValueError:
        return
    assert output is event
    assert isinstance(event.timestamp, str)
    assert len(event.timestamp) == 19
    assert key is not None
    assert event.time_flg in {1, 2, 3, 4}
    assert key == (key[0], "Unknown", event.time_flg)


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "timestamp"])
@pytest.mark.parametrize("value", [1, 1.5, True, ["a"], {"a": 1}])
def test_a_field_of_another_type_is_refused_and_named(field: str, value: object) -> None:
    batch = process(msgspec.json.encode({**COMPLETE, field: value}))
    assert batch.payloads == []
    (bad,) = batch.bad
    assert bad.error_class == "ValidationError"
    assert f"$.{field}" in bad.error_text


@pytest.mark.parametrize("value", ["West", 7, None, [1, {"a": 2}], {"deep": {"er": []}}, False])
def test_region_and_period_in_the_input_are_overwritten_whatever_they_hold(value: object) -> None:
    assert enriched(region=value, time_flg=value) == enriched()


def test_a_field_that_nobody_knows_is_dropped() -> None:
    assert enriched(password="secret", nested={"a": [1, 2]}) == enriched()


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    (payload,) = process(b'{"locale":"CA","locale":"NY"}').payloads
    assert msgspec.json.decode(payload)["region"] == "East"


def test_text_of_any_script_goes_through_unchanged() -> None:
    text = 'Ünïcödé ☃ 🎉 "quoted" \\ \n \u0000'
    assert enriched(user_id=text)["user_id"] == text


@pytest.mark.parametrize(
    ("login", "key"),
    [
        ({"locale": "CA", "timestamp": 1_694_479_551}, (28_241_325, "West", 4)),
        ({"locale": "CA", "timestamp": "1694479551"}, (28_241_325, "West", 4)),
        ({"locale": "CA"}, (None, "West", None)),
        ({"timestamp": -1}, (-1, "Unknown", 4)),
        ({}, (None, "Unknown", None)),
    ],
)
def test_a_login_counts_by_its_minute_region_and_period(
    login: dict[str, object], key: tuple[object, ...]
) -> None:
    assert process(msgspec.json.encode(login)).keys == [key]
    assert len(key) == 1 + len(logins.DIMENSIONS)


def test_the_memory_of_seconds_is_bounded_and_right_when_it_overflows() -> None:
    moments = logins._Moment()
    for second in range(3 * logins._Moment.LIMIT):
        assert moments[second][2] == second // 60
        assert len(moments) <= logins._Moment.LIMIT
    assert moments[1_694_479_551] == ("2023-09-12 00:45:51", 4, 28_241_325)
