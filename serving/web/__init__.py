"""The live page and the page `/docs`: HTML, CSS and JavaScript, served by `serving.http.api.web_files`."""
