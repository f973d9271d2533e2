"""The stream worker: reads records without end, writes verdicts, and stores its position.

    source -> batch -> scoring -> sink -> commit

To read the code, start with these modules, in this order:

    base               protocols of source and sink: what each call guarantees, and what a new one must implement
    worker             the loop, and recovery when a batch cannot be delivered
    scoring            a batch -> verdicts and dead letters
    model_watcher      the version that scores
    series_state       windows of series between two batches; `changelog_records` is their stored form
    text               standard input and output, and files; `tail` follows a file, `state_store` is its state file
    dead_letters       the format of dead letters
    kafka              consumer, producer, transactions; its `__init__` lists its modules
    metrics            all metrics
    run                the process: addresses, signals, exit
    settings           all settings, with their defaults
"""
