"""The detector: what a bundle holds, and how it turns rows into verdicts.

A score says how much of a row the network could *not* reconstruct, in nats: 0 is a perfect reconstruction, and a higher
score is more abnormal. A verdict compares the score with a threshold that promises a false-alarm rate, and names the
columns to blame.

The scoring path, in reading order (ten minutes):

    scorer      opens a bundle; the whole path: a table in, verdicts out
    columns     table -> float64[rows, columns] and rejects (`cells` parses one column)
    graph       float64[rows, columns] -> score, contribution, expected (ONNX Runtime)
    decision    score -> p-value and verdict
    reasons     contribution -> the columns to blame, in the user's units (`image_reasons`: the regions of an image)

and around it

    series      series: rows scored by the rows before them (`windows`: each key's newest rows; `alarm`: when alarms start)
    images      PNG and JPEG files -> pixels
    bundle      the folder that holds a detector, verified when it is read (`manifest`: its description)
    repository  names and versions of bundles (`pin`: the version that a name means; `versioning`: writes the next one)
    decoder     latent codes -> rows (`classifier`: rows -> known classes)
    files       CSV, Parquet and NDJSON -> tables, in constant memory
    errors      every error that a user can fix

The networks that produce a detector are in `training.networks`.
"""
