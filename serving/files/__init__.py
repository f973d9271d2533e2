"""Files in, a file of verdicts or of transformed rows out, in constant memory.

`scoring.score_files` is the whole of `residuum score`; `transform.transform_files` writes the latent code, the
reconstruction or the decoded row of each row. `sinks` are the output formats, and `output` makes files appear only when
they are complete.
"""
