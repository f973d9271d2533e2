"""The inference service: rows come in by HTTP, verdicts go out.

If you are here to read the code, start with these, in this order:

    app         a request from its first byte to its last: who may, how much, which route, what is counted
    shortcut    the same for a small body, which most are: answered where it arrives
    scoring     the one hot route: a body of rows in any of its forms, a body of verdicts
    body        JSON -> rows; `answer` verdicts -> JSON
    models      which bundles are open, and how the disk is followed; `model` is one of them
    operations  promote, roll back, move the threshold; `feedback` is what people say verdicts were worth
    hub         what must be in one place of several workers: latest scores, alarms, agreement
    live        what the page at / shows of it; `page/` is the page
    sessions    what is remembered of series between requests; `series` are its routes
    limiter        how much is done at once, and what is refused
    problem     what goes wrong, as problem details (RFC 9457)
    protocol    one connection: which way a request takes, header and idle timeouts
    ledger      what is counted and noted down of a request
    service     these parts, put together; `inside` and `forward` are the two ends between worker 0 and the others
    server      the process: sockets, signals, draining; `listener` is what they have in common
    settings    everything that can be set, with its default
"""
