"""Fine-tuning with few labels: a classifier beside a detector, whose encoder, decoder, score and threshold do not change.

    labelled rows -> `comparison` with the unsupervised score -> `frozen` or `joint` on all rows -> `version`

Start reading with `training.finetune.version`.
"""
