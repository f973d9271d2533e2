"""The detector: what a bundle holds, and how it turns rows into verdicts.

A score says how much of a row the network could *not* reconstruct, in nats: 0 is a perfect reconstruction, and a higher
score is more abnormal. A verdict compares the score with a threshold that promises a false-alarm rate, and names the
columns to blame.

The scoring path, in reading order (ten minutes):

    scorer      opens a bundle and scores tables and batches with it
    batch       rows as every codec decodes them
    inputs      what a detector takes: rows of a table, series, or images; one class each with the whole path in order
    columns     table -> float64[rows, columns] and rejects (`cells` parses one column; `record_encoder`: a few records)
    graph       float64[rows, columns] -> score, contribution, expected (ONNX Runtime)
    decision    score -> p-value and verdict
    reasons     contribution -> the columns to blame, in the user's units (`column_reasons`, `row_reasons`, `image_reasons`)
    verdicts    the result, and the one definition of a verdict's fields

and around it

    windows     series: each key's newest rows (`alarm`: when an alarm starts and ends)
    images      PNG and JPEG files -> pixels
    bundle      the folder that holds a detector, verified when it is read (`manifest`: its description)
    repository  names and versions of bundles (`pin`: the version that a name means; `versioning`: writes the next one)
    decoder     latent codes -> rows (`classifier`: rows -> known classes)
    files       CSV, Parquet and NDJSON -> tables, in constant memory
    errors      every error that a user can fix

The networks that produce a detector are in `training.networks`.
"""
