"""Training: normal rows in, a bundle out. The only package that imports torch, onnx and scikit-learn's fitting code.

Read in this order:

    recipe       the options of a training run, and the table to train on
    kinds        the kind of each column, inferred from the whole table
    split        training, validation and calibration rows
    layout       the order in which columns enter a network, with ranges and scalings (`scaling`) learnt without `far_cells`
    variants     the table of variants: network x corruption x penalty x score
    networks     encoders and decoders
    fit          the training loop
    graph        the whole computation as one module: matrix in; score, contribution, expected, latent out
    export       that module as ONNX, and the proof that both agree
    manifest     the metadata of a detector
    calibrate    thresholds from labels
    inputs       tables, images and windows of a series: training data with the same methods
    train        the pipeline: the steps above, in order
"""
