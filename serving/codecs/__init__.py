"""Wire formats: bytes to batches of rows, and verdicts to bytes. `base` says what a codec does.

    json      `[{...}, ...]` in, one JSON object out
    ndjson    one object per line, in constant memory
    arrow     Arrow streams
    raw       little-endian float64, as the graph takes it
    image     a PNG or JPEG file
    oip       the Open Inference Protocol v2, JSON and binary tensors

CSV and Parquet are read and written file by file: see `detector.files` and `serving.files`.
"""
