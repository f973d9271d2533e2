"""How a detector is asked: rows come in through a door, verdicts leave by a sink.

If you are here to read the code, start with these, in this order:

    files.judging    tables in files, judged block by block: the one loop of this package
    files.scoring    the same with the verdicts written to a file; `files.sinks` are the formats, `files.output` the
                     promise that a file appears only when it is whole
    files.summary    what is said of a run afterwards; `files.promise` holds it against the promised rate

    model            a bundle for rows that keep coming, whatever brings them; `watch` counts what it says, `detection`
                     tells Prometheus, `words` are its verdicts as JSON
    shadow           a newer version that judges along and answers nobody; `agreement` says how far the two agree
    http             the service; its `__init__` says where to start
    stream           the worker on streams; its `__init__` says where to start

What a verdict is stands in `detector`; nothing here knows of training.
"""
