"""Open models, and what the service remembers beside them; nothing here knows URLs.

In reading order:

    registry        which versions are open; follows the repository on disk
    sessions        series whose rows arrive request by request
    feedback        what users say about verdicts, in a file beside the versions
    worker_report   the statistics that each worker sends to worker 0
    history         totals of each minute and the latest alarms, in a database
    aggregator      the statistics of all workers, in worker 0
    moved_columns   which columns moved where the data has drifted
    metrics         what Prometheus reads of all these
"""
