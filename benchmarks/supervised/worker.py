"""The worker under supervisord and circus: it says when its first line ran, and waits for its end."""

import time

BEGAN_NS = time.monotonic_ns()

import signal  # noqa: E402  nothing comes before the clock

from note import note  # noqa: E402

note(BEGAN_NS)
while True:
    signal.pause()
