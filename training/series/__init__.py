"""How a detector of windows is made: rows of one or many series in, a bundle out.

    rows       the order of the rows, their windows, and the contiguous blocks that are held out in turn
    channels   a window as real-valued channels, and what no network needs to see
    model      the two branches that rebuild windows, and the loss that trains them
    scores     from residuals to a score, column by column
    graph      the whole computation as one module: float64[windows, time, columns] in, score and contribution out
    learn      each block held out in turn, then a fit on all
    train      all of it, in order

The networks stand in `training.networks.sequence`, the loop in `training.fit`, export and proof in `training.export`.
"""
