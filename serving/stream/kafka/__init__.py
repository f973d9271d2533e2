"""Kafka: topics as source and sink; exactly once by transactions.

client_log  why a connection fails, with remedies, from the log of the client
connect     opens source and sink; checks topics before anything is read
consumer    the source: batches, assigned partitions, rewinding
offsets     offsets to commit with a batch
positions   where to start, and what to do when a position is gone; gaps of compacted topics
producer    sends messages, with or without transactions
sink        verdicts, dead letters and changes to windows as messages
size_limits what is omitted from messages that their topic refuses
changelog   reads the windows of series
errors      which of Kafka's errors to retry, and which end the connection or the worker
config      settings of the clients: defaults, the user's, and fixed ones
replay      copies dead letters back to the topic that they came from
"""

from serving.stream.kafka.connect import KafkaConnector as KafkaConnector
