"""Kafka: topics as source and sink, exactly once by transactions.

    connect     what an address means; the checks before anything is read
    consumer    the source: batches, what is ours, where to go on
    producer    messages out, in transactions or without
    sink        verdicts, dead letters and windows as messages
    changelog   the windows of series, read again
    errors      what each of Kafka's errors means: again, lost, or the end
    config      the client's settings: ours, the user's, and what may not be changed
    replay      dead letters put back

Facts behind it, each of which cost somebody a day, stand where they matter.
"""

from serving.stream.kafka.connect import Kafka as Kafka
