"""The doorbell: taskiq over Redis streams. It only tells workers that there is a run; the run is a row in PostgreSQL,
and losing everything in Redis costs a moment, not a run."""

import logging

from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisStreamBroker

STREAM = "hookline:sync"

# It logs exceptions with their texts and tracebacks, which our logs never hold, and among them those of a listener that
# is told to stop. Failures are logged by whoever sends or listens.
logging.getLogger("taskiq").setLevel(logging.CRITICAL)


def make_broker(redis_url: str) -> RedisStreamBroker:
    """A broker for sending and for listening; nothing connects before `startup`."""
    broker = RedisStreamBroker(
        redis_url,
        queue_name=STREAM,
        consumer_group_name="hookline-sync",
        # From the beginning: a message sent before the first worker came up is not lost.
        consumer_id="0",
        # XACK does not delete; a stream of messages of 200 bytes is kept to a few megabytes.
        maxlen=10_000,
        socket_connect_timeout=5,
    )
    broker.with_serializer(JSONSerializer())
    return broker
