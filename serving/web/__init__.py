"""The live page: HTML, CSS and JavaScript, served as they are by `serving.http.api.live_page`."""
