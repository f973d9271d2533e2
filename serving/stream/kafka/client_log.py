"""The client's own log: it alone explains why a connection fails, so each explanation is passed on, once, with a remedy."""

from __future__ import annotations

import logging
import re

from serving.log import log

LINE = re.compile(
    r"(?P<kind>[A-Z]\w*) (?:\[[^\]]*\] )?(?:\[thrd:[^\]]*\]: )?(?P<text>.*)", re.DOTALL
)  # ... [client] [thread]: text
BROKER = re.compile(r"(?:\w+://)?(?P<address>[^/\s]+)/(?P<node>bootstrap|-?[0-9]+): ")
STATE = re.compile(r" \(after (?P<ms>[0-9]+)ms in state (?P<state>\w+)[^)]*\)")
QUICK = 1000  # ms; a connection that is closed sooner was never of use, one that is closed later will be opened again
OTHER_CLIENT = re.compile(r"is a (consumer|producer) property and will be ignored")  # all clients get the user's settings
ADVERTISED = "a broker gives this address to its clients (advertised.listeners): it must be reachable from here"
CHECK_PROTOCOL = (
    "does the listener expect TLS or SASL? set --kafka security.protocol to ssl, sasl_plaintext or sasl_ssl; and is this the "
    "port of a Kafka broker?"
)
REMEDIES = (
    (
        "PLAINTEXT broker listener|wrong version number|SSL handshake failed: Disconnected|SSL connection closed",
        (
            "the listener may not speak TLS: set --kafka security.protocol to plaintext or sasl_plaintext, or use the port of "
            "its TLS listener"
        ),
    ),
    (
        "certificate verify failed|certificate could not be verified",
        (
            "set --kafka ssl.ca.location to the file of the authority that signed the broker's certificate; the certificate must "
            "name the host of the address"
        ),
    ),
    (
        "SSL handshake failed|SSL routines|certificate required|alert",
        (
            "check --kafka ssl.certificate.location, ssl.key.location and ssl.ca.location: the broker may ask for a client "
            "certificate"
        ),
    ),
    ("Unsupported SASL mechanism", "set --kafka sasl.mechanism to one that the broker supports"),
    (
        "mechanism handshake failed|SASL state",
        "the listener may not use SASL: set --kafka security.protocol to plaintext or ssl, or use the port of its SASL listener",
    ),
    ("SASL|[Aa]uthentication failed", "check --kafka sasl.mechanism, sasl.username and sasl.password"),
    ("Failed to resolve", "check the host's name in kafka://HOST:PORT/TOPIC"),
    ("Connect to .* failed|timed out", "is a broker running at this address, and can it be reached from here?"),
    ("Disconnected|Invalid response size|connection closed", CHECK_PROTOCOL),
)


def client_logger() -> logging.Logger:
    """Return the logger for the clients."""
    logger = logging.getLogger("residuum.kafka")
    if not logger.handlers:
        logger.addHandler(HANDLER)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


class ClientLogHandler(logging.Handler):
    """Forwards the lines of the client's log that explain a failure to our log, each once until `reset`."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward a line."""
        found = LINE.fullmatch(record.getMessage())
        kind, text = (found["kind"], found["text"]) if found else ("", record.getMessage())
        if not _is_explanation(record.levelno, kind, text):
            return
        message = STATE.sub("", text).strip()
        remedy = remedy_for(message) if kind == "FAIL" else ""
        broker = BROKER.match(message)
        explained = f"{broker['address']}: {remedy}" if broker and remedy else message  # there may be several texts for one cause
        if explained not in self._seen:
            self._seen.add(explained)
            log().warning("kafka", message=message, **({"remedy": remedy} if remedy else {}))

    def reset(self) -> None:
        """Forward lines that were seen before, if they come again: the connection works now."""
        self._seen.clear()


HANDLER = ClientLogHandler()


def remedy_for(message: str) -> str:
    """Return what to do about a failed connection; "" if that is unknown."""
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, message)), "")
    broker = BROKER.match(message)
    is_advertised = broker and broker["node"] != "bootstrap" and re.search("Failed to resolve|Connect to", message)
    return ADVERTISED if is_advertised else remedy


def _is_explanation(level: int, kind: str, text: str) -> bool:
    """Return whether a line explains a failure; the others are about what the client does by itself."""
    if kind == "CONFWARN":
        return not OTHER_CLIENT.search(text)
    if level >= logging.ERROR or kind != "FAIL":
        return level >= logging.ERROR
    state = STATE.search(text)
    return state is None or state["state"] != "UP" or int(state["ms"]) < QUICK
