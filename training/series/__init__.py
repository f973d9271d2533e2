"""Training on windows of one or many series.

    window_index  the order of the rows, their windows, and the contiguous blocks of time
    channels      a window as real-valued channels, and flags that no network reconstructs
    model         the two branches that reconstruct windows, and their loss
    scores        from residuals to a score, column by column
    graph         the whole computation as one module: float64[windows, time, columns] in, score and contribution out
    cross_fit     hold each block out in turn, then fit on all

The networks are in `training.networks.sequence`, the loop is in `training.fit`, the pipeline in `training.train`.
"""
