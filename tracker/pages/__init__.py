"""Web pages for people, rendered on the server; see README.md in this directory for how a page is added."""
