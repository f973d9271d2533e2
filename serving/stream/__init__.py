"""The worker on streams: records come in without end, verdicts go out, and where it stands is kept.

    source -> batch -> `judge` -> sink -> commit

If you are here to read the code, start with these, in this order:

    protocol    what a source and a sink are, and what each call promises; what a new one has to meet
    worker      the loop; what happens when a batch cannot be delivered
    judge       a batch -> verdicts and dead letters
    current     which version of the model judges
    runs        what is remembered of series between two batches; `slots` is its form outside
    text        standard input and output, and files; `follow` reads a file as `tail -F` does, `standing` is its state file
    kafka       consumer, producer, transactions; its `__init__` says where to start
    metrics     what is counted
    run         the process: which source and sink an address means, signals, the end
    settings    everything that can be set, with its default
"""
