"""How to react to an error of Kafka's client: retry the call, retry the batch, reconnect, or stop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from confluent_kafka import KafkaError, KafkaException

from detector.errors import StreamError
from serving.log import log
from serving.stream.base import ConnectionLost, RetryBatch

Reaction = Literal["retry call", "retry batch", "reconnect", "fenced", "stop"]

# `_FENCED` is not always fatal, and may even require an abort; whatever its flags are, another client has taken the ID.
FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - the client's own errors begin so
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
# Retries do not help against these.
PERMANENT = {
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


# What to do about errors that only people can mend.
READ, WRITE = "Read and Describe on the topic of --from", "Write and Describe on those of --to and --dead-letters"
REMEDIES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: f"grant this user {READ}, {WRITE}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant this user Read on the group of --group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "grant this user Write and Describe on the transactional IDs that begin "
    "with residuum- and the name of --group, or use --guarantee at-least-once",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: f"grant this user IdempotentWrite on the cluster, or {WRITE}",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topic first: the worker creates none",
    KafkaError._UNKNOWN_TOPIC: "create the topic first: the worker creates none",  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED: "check --kafka sasl.mechanism, sasl.username and sasl.password",
    KafkaError._AUTHENTICATION: "check --kafka sasl.mechanism, sasl.username and sasl.password",  # noqa: SLF001
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower --kafka transaction.timeout.ms to the brokers' transaction.max.timeout.ms",
}


class MessageTooLarge(StreamError):
    """Messages exceed the limit of their topic, or of the producer."""

    def __init__(self, refused: Mapping[str, Sequence[int]]) -> None:
        """Describe them; `refused` are the sizes of value and key, by topic."""
        self.refused = refused
        topics = "; ".join(f"{topic}: {max(sizes):,} bytes and headers" for topic, sizes in refused.items())
        super().__init__(
            f"deliver: MSG_SIZE_TOO_LARGE: a message is larger than its topic or the producer allows ({topics}); raise the "
            "topic's max.message.bytes, or --kafka message.max.bytes if that is set; nothing is lost: after a restart the "
            "worker scores the batch again"
        )


def error_of(exception: KafkaException) -> KafkaError:
    """Return the error that an exception carries."""
    error: KafkaError = exception.args[0]
    return error


def reaction(error: KafkaError) -> Reaction:
    """Return how to react to an error; the order of the checks is the one that librdkafka prescribes."""
    if error.code() in FENCED or (is_fatal(error) and "fenced" in error.str()):
        return "fenced"
    if error.code() in PERMANENT:
        return "stop"
    if error.txn_requires_abort():
        return "retry batch"
    if error.retriable():
        return "retry call"
    return "reconnect"


def is_fatal(error: KafkaError) -> bool:
    """Return whether the client is unusable; a consumer returns the code `_FATAL`, without the flag, and the reason as text."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001


def describe(action: str, error: KafkaError) -> str:
    """Return a one-line message."""
    return f"{action}: {error.name()}: {error.str()}"


def exception_for(action: str, error: KafkaError) -> RetryBatch | ConnectionLost | StreamError:
    """Return the exception that makes the worker react to an error."""
    message = describe(action, error)
    match reaction(error):
        case "fenced":
            return ConnectionLost(message, fenced=True)
        case "stop":
            remedy = REMEDIES.get(error.code())
            message = f"{message}; {remedy}" if remedy else message
            return StreamError(f"{message}; nothing is lost: after a restart the worker scores the batch again")
        case "retry batch" | "retry call":
            return RetryBatch(message)
        case "reconnect":
            return ConnectionLost(message)


def consumer_exception_for(action: str, error: KafkaError) -> ConnectionLost | StreamError:
    """Return the exception for an error of a consumer, which concerns the connection and never the batch."""
    exception = exception_for(action, error)
    return ConnectionLost(str(exception)) if isinstance(exception, RetryBatch) else exception


@contextlib.contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Translate the exceptions of a consumer's calls.

    Raises:
        ConnectionLost, StreamError: a call failed.
    """
    try:
        yield
    except KafkaException as error:
        raise consumer_exception_for(action, error_of(error)) from error


def check_consumer_error(action: str, error: KafkaError) -> None:
    """Raise for an error that a consumer returned in place of a record; log errors that the client recovers from itself.

    Raises:
        ConnectionLost, StreamError: the client cannot recover.
    """
    if is_fatal(error) or reaction(error) in {"fenced", "stop"}:
        raise consumer_exception_for(action, error)
    log().warning("consumer error", error=describe(action, error))
