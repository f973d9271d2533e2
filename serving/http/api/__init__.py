"""The HTTP API: what each route does.

In reading order:

    routes           the route table: every route with its role, schemas and handler
    score            the scoring routes; `sessions` are those of series
    query_params     the options of scoring; `row_log` logs rows, `row_labels` names them
    model_info       which models and versions there are
    admin            promote, roll back, move the threshold, give feedback
    live_page        the events of the page at /; `history` is what it shows of hours and days
    web_files        the files of this page and of /docs; `serving/web` holds them
    service_info     health, metrics and the description of the API
    openapi          that description, derived from the route table
"""
