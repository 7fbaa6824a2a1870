"""The C interface of librdkafka, as far as our producer needs it: prototypes and errors, by ctypes.

It is the very library that ``confluent_kafka`` is linked with and has loaded, whichever that is: its
extension module is opened, and symbols are looked up in what that depends on. Names, types and layouts are
those of ``rdkafka.h``, and public there.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    Union,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_void_p,
)

from confluent_kafka import KafkaError, KafkaException, cimpl

__all__ = [
    "LOG_CALLBACK",
    "NOTHING",
    "Memory",
    "Part",
    "PartType",
    "Record",
    "api",
    "check",
    "configuration",
    "setting",
]

_TEXT_SIZE = 512

LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_char_p)
"""Client, syslog level, facility, text. Called by ``rd_kafka_poll`` where ``log.queue`` is set."""


class Record(Structure):
    """``rd_kafka_message_t``."""

    _fields_ = (
        ("err", c_int),
        ("rkt", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("len", c_size_t),
        ("key", c_void_p),
        ("key_len", c_size_t),
        ("offset", c_int64),
        ("_private", c_void_p),
    )


class PartType:
    """``rd_kafka_vtype_t``: which part of a record a :class:`Part` is."""

    TOPIC, PARTITION, VALUE, KEY, FLAGS, HEADERS = 2, 3, 4, 5, 7, 10


class Memory(Structure):
    """A pointer, null for ``None``, and a size."""

    _fields_ = (("address", c_char_p), ("size", c_size_t))


class _Content(Union):
    _fields_ = (
        ("number", c_int),
        ("pointer", c_void_p),
        ("memory", Memory),
        ("padding", c_char * 64),
    )


class Part(Structure):
    """``rd_kafka_vu_t``."""

    _anonymous_ = ("content",)
    _fields_ = (("type", c_int), ("content", _Content))


api = ctypes.CDLL(cimpl.__file__)
"""Every function gives the GIL back while it runs."""

NOTHING = ctypes.cast(api.rd_kafka_version, c_void_p)
"""A callback that does nothing, without Python: a function that looks at no arguments and changes nothing."""


def _declare(result: type | None, **functions: tuple[type, ...]) -> None:
    for name, arguments in functions.items():
        function = getattr(api, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments


# A text that a function returns belongs to librdkafka; what it is given is copied by it.
_declare(
    c_void_p,
    conf_new=(),
    new=(c_int, c_void_p, c_char_p, c_size_t),
    topic_new=(c_void_p, c_char_p, c_void_p),
    headers_new=(c_size_t,),
    topic_partition_list_new=(c_int,),
    topic_partition_list_add=(c_void_p, c_char_p, c_int32),
    consumer_group_metadata_new=(c_char_p,),
)
_declare(
    c_int,
    conf_set=(c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    conf_get=(c_void_p, c_char_p, c_char_p, POINTER(c_size_t)),
    set_log_queue=(c_void_p, c_void_p),
    poll=(c_void_p, c_int),
    last_error=(),
    outq_len=(c_void_p,),
    flush=(c_void_p, c_int),
    metadata=(c_void_p, c_int, c_void_p, POINTER(c_void_p), c_int),
    query_watermark_offsets=(c_void_p, c_char_p, c_int32, c_void_p, c_void_p, c_int),
    produce_batch=(c_void_p, c_int32, c_int, c_void_p, c_int),
    header_add=(c_void_p, c_char_p, c_ssize_t, c_void_p, c_ssize_t),
    topic_partition_list_set_offset=(c_void_p, c_char_p, c_int32, c_int64),
    error_code=(c_void_p,),
    error_is_fatal=(c_void_p,),
    error_is_retriable=(c_void_p,),
    error_txn_requires_abort=(c_void_p,),
)
_declare(
    c_void_p,  # rd_kafka_error_t *, for check()
    init_transactions=(c_void_p, c_int),
    begin_transaction=(c_void_p,),
    send_offsets_to_transaction=(c_void_p, c_void_p, c_void_p, c_int),
    commit_transaction=(c_void_p, c_int),
    abort_transaction=(c_void_p, c_int),
    produceva=(c_void_p, c_void_p, c_size_t),
)
_declare(c_char_p, name=(c_void_p,), error_string=(c_void_p,))
_declare(
    None,
    conf_set_log_cb=(c_void_p, LOG_CALLBACK),
    conf_set_dr_msg_cb=(c_void_p, c_void_p),
    conf_set_error_cb=(c_void_p, c_void_p),
    conf_destroy=(c_void_p,),
    destroy=(c_void_p,),
    topic_destroy=(c_void_p,),
    metadata_destroy=(c_void_p,),
    headers_destroy=(c_void_p,),
    topic_partition_list_destroy=(c_void_p,),
    consumer_group_metadata_destroy=(c_void_p,),
    error_destroy=(c_void_p,),
)


def check(error: int | None) -> None:
    """Raise ``KafkaException`` for a ``rd_kafka_error_t *`` that is one, and free it."""
    if error is None:
        return
    found = KafkaError(
        api.rd_kafka_error_code(error),
        api.rd_kafka_error_string(error).decode("utf-8", "replace"),
        fatal=bool(api.rd_kafka_error_is_fatal(error)),
        retriable=bool(api.rd_kafka_error_is_retriable(error)),
        txn_requires_abort=bool(api.rd_kafka_error_txn_requires_abort(error)),
    )
    api.rd_kafka_error_destroy(error)
    raise KafkaException(found)


def configuration(settings: dict[str, object]) -> int:
    """A ``rd_kafka_conf_t *`` with these settings. Raises ``KafkaException`` for one that is not taken."""
    conf: int = api.rd_kafka_conf_new()
    text = ctypes.create_string_buffer(_TEXT_SIZE)
    # A plug-in may bring settings of its own, so that it has to be loaded first.
    for key in sorted(settings, key=lambda key: key != "plugin.library.paths"):
        value = settings[key]
        written = str(value).lower() if isinstance(value, bool) else str(value)
        if api.rd_kafka_conf_set(conf, key.encode(), written.encode(), text, _TEXT_SIZE):
            api.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode("utf-8", "replace")))
    return conf


def setting(conf: int, key: str) -> str:
    """What a ``rd_kafka_conf_t *`` has for a setting, its default where none was given."""
    text = ctypes.create_string_buffer(_TEXT_SIZE)
    api.rd_kafka_conf_get(conf, key.encode(), text, c_size_t(_TEXT_SIZE))
    return text.value.decode()
