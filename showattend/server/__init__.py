"""The web server: a page and its JSON API."""
