"""Files of rows in, a file of verdicts out, in constant memory.

`scoring.score_files` is the whole job; `judging.judge` is its loop, for whoever wants the verdicts and not a file.
`rewriting.rewrite_files` writes something else of each row: its code, the row as rebuilt, or the row that a code stands for.
"""
