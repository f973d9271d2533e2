"""Requests, responses and limits; nothing here knows models or rows.

In reading order:

    request          the head of a request and its body; `request_id` names it
    response         complete and streamed responses; `problem_details` are the errors
    routing          the route table: URL, method, role, schemas and handler of each route
    authentication   bearer tokens and their roles
    concurrency      the limits on concurrent requests and on the queue
    app              the ASGI app: authorise, route, answer, record
    fast_path        the same for small bodies, without ASGI
    connection       one client connection: timeouts, limits on heads, and the choice of the path
    access_log       counts and logs requests; `metrics` holds the counters
    settings         all settings with their defaults
    readiness        whether the service accepts work
    timer            periodic tasks
"""
