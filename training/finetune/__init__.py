"""Few labels: a classifier beside a detector, whose encoder, decoder, score and threshold stay as they are.

    labelled rows -> `comparison` with the unsupervised score -> `frozen` or `joint` on all rows -> `version`

Start with `training.finetune.version`.
"""
