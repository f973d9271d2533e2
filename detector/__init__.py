"""What ships: a detector, and how it turns rows into verdicts.

A score says how much of a row the detector could *not* rebuild, in nats: 0 is a perfect reconstruction, higher is more
abnormal. A verdict compares it with a threshold that promises a false-alarm rate, and names the columns to blame.

If you are here to read the code, start with these, in this order:

    scorer      the whole scoring path: a frame in, verdicts out
    columns     a frame -> float64[rows, columns] and rejects (`cells` parses one column)
    graph       float64[rows, columns] -> score, contribution, expected (ONNX Runtime)
    decision    score -> p-value and verdict
    reasons     contribution -> the columns to blame, in the user's units
    series      the same where rows are judged by those before them (`windows`: each key's newest rows; `alarm`: what begins
                and ends)
    bundle      the folder that holds all of it, verified (`manifest`: what it says; `repository`: names and versions;
                `pin`: which version a name means; `successor`: the next one)
    files       CSV, Parquet and NDJSON -> frames, in constant memory

The networks that *produce* a detector live in `training.networks`.
"""
