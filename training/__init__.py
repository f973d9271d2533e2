"""How a detector is made: normal rows in, a bundle out. The only place where torch, onnx and scikit-learn's fitting live.

Read in this order:

    recipe       what a user may choose when training
    kinds        what each column is, from the whole table
    split        training, validation and calibration rows
    layout       the order in which columns enter a network, with what training rows say of them (`scaling`)
    variants     the table: a variant is a network x a corruption x a penalty x a score
    networks     encoders and decoders
    fit          the one training loop
    graph        the whole computation as one module: matrix in; score, contribution, expected, latent out
    export       that module as ONNX, and the proof that it is the same
    manifest     what a detector says of itself
    calibrate    thresholds
    train        all of it, in order (`series`: the same on windows of a series)
"""
