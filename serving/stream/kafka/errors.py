"""What an error of Kafka's client means: try the same call again, the same batch again, a new connection, or the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from confluent_kafka import KafkaError, KafkaException

from detector.errors import StreamError
from serving.stream.base import Again, Lost

Meaning = Literal["call again", "batch again", "lost", "fenced", "end"]

# `_FENCED` is not always fatal, and may even ask for an abort: whatever its flags say, the name belongs to somebody else.
FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - the client's own errors begin so
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
# What no waiting mends.
HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError._AUTHENTICATION,  # noqa: SLF001
}


def error_of(exception: KafkaException) -> KafkaError:
    """Give the error that an exception carries."""
    error: KafkaError = exception.args[0]
    return error


def meaning(error: KafkaError) -> Meaning:
    """Say what to do about an error; the order of the questions is librdkafka's own."""
    if error.code() in FENCED:
        return "fenced"
    if error.code() in HOPELESS:
        return "end"
    if error.txn_requires_abort():
        return "batch again"
    if error.retriable():
        return "call again"
    return "lost"


def told(doing: str, error: KafkaError) -> str:
    """Say in one line what went wrong."""
    return f"{doing}: {error.name()}: {error.str()}"


@contextlib.contextmanager
def understood(doing: str) -> Iterator[None]:
    """Turn what a consumer's calls raise into what the worker understands; it is never the batch that is to blame.

    Raises:
        Lost, StreamError: a call went wrong.
    """
    try:
        yield
    except KafkaException as error:
        raise lost_or_worse(doing, error_of(error)) from error


def lost_or_worse(doing: str, error: KafkaError) -> Exception:
    """Give the exception for a consumer that cannot go on."""
    found = raised(doing, error)
    return Lost(str(found)) if isinstance(found, Again) else found


def raised(doing: str, error: KafkaError) -> Exception:
    """Give the exception that the worker understands."""
    said = told(doing, error)
    match meaning(error):
        case "fenced":
            return Lost(said, fenced=True)
        case "end":
            return StreamError(f"{said}; nothing is lost: the batch comes again when this is mended")
        case "batch again" | "call again":
            return Again(said)
        case "lost":
            return Lost(said)
