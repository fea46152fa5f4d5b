"""Every page: its path, what it needs, and what makes it; and the menu."""

from __future__ import annotations

from typing import Final

from tracker.domain.scopes import Scope
from tracker.pages import files, sign_in, task_list
from tracker.pages.page import Page

PAGES: Final = (
    Page("GET", "/", Scope.READ, task_list.show_tasks, ""),
    Page("GET", "/live", Scope.READ, task_list.stream_tasks, is_html=False),
    Page("GET", "/tasks/{id}/outputs/{n}", Scope.READ, files.get_output),
    Page("GET", "/sign-in", None, sign_in.show_sign_in),
    Page("POST", "/sign-in", None, sign_in.sign_in),
    Page("POST", "/sign-out", Scope.READ, sign_in.sign_out),
    Page("GET", "/static/{name}", None, files.get_static, is_html=False),
)

NAVIGATION: Final = (
    (("Tasks", ""), ("Gallery", "?view=gallery")),
    (),
)
"""The menu, and what is behind its "More": name and path."""
