"""Processes and sockets: one worker, or several on one port.

In reading order:

    server           `serve`: starts one worker here, or a supervisor
    worker           runs one worker: uvicorn, signals, and an orderly shutdown
    service          the objects of one worker, put together
    supervisor       starts several workers, and restarts those that die
    internal_api     what worker 0 offers to the others, on a Unix socket
    proxy            how the others reach it
    sockets          binds the address
    uvicorn_config   the configuration of uvicorn that all sockets share
"""
