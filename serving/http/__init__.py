"""The HTTP service: rows in, verdicts out.

Its sub-packages import each other in this order only, and each names its modules in reading order:

    core       requests, responses, the route table, limits; knows no models
    models     open models, sessions, feedback, statistics; knows no URLs
    api        the routes: scoring, sessions, admin, live page, OpenAPI
    process    sockets, workers and the supervisor

A request arrives in `core.connection`. A small body to score takes `core.fast_path`; everything else takes `core.app`. Both
find the route in `core.routing`, check the token in `core.authentication` and call a handler of `api.routes`.
"""
