"""Use of a detector: rows come in from files, HTTP or streams, verdicts go out.

Start reading here:

    pipeline      batch -> verdicts -> answer, in one wire format; `codecs` are the formats
    model         an open version of a detector, with its statistics and its shadow
    monitoring    observes verdicts: rolling statistics, drift, shadow comparison, metrics
    files         `residuum score`: files in, a file of verdicts out
    client        the same with a service in place of a bundle
    http          the service
    stream        the stream worker

What a verdict is stands in `detector`. Nothing here depends on `training`.
"""
