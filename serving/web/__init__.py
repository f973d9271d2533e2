"""The live page: HTML, CSS and JavaScript, served as they are."""
