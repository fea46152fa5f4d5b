"""Every page: its path, what it needs, and what makes it; and the menu."""

from __future__ import annotations

from typing import Final

from tracker.domain.scopes import Scope
from tracker.pages import actions, bulk, files, health, hooks, reference, setup, sign_in, task, task_list
from tracker.pages.page import Page

PAGES: Final = (
    Page("GET", "/", Scope.READ, task_list.show_tasks, ""),
    Page("GET", "/live", Scope.READ, task_list.stream_tasks, is_html=False),
    Page("GET", "/all/{action}", Scope.ADMIN, bulk.ask, ""),
    Page("POST", "/all/{action}", Scope.ADMIN, bulk.act, ""),
    Page("GET", "/tasks/{id}", Scope.READ, task.show_task, ""),
    Page("GET", "/tasks/{id}/live", Scope.READ, task.stream_task, is_html=False),
    Page("GET", "/tasks/{id}/outputs/{n}", Scope.READ, files.get_output),
    Page("GET", "/tasks/{id}/request.json", Scope.READ, task.get_request),
    Page("GET", "/tasks/{id}/result.json", Scope.READ, task.get_result),
    Page("GET", "/tasks/{id}/export.json", Scope.READ, task.get_export),
    Page("POST", "/tasks/{id}/poll", Scope.SUBMIT, actions.poll, ""),
    Page("GET", "/tasks/{id}/cancel", Scope.SUBMIT, actions.ask_to_cancel, ""),
    Page("POST", "/tasks/{id}/cancel", Scope.SUBMIT, actions.cancel, ""),
    Page("GET", "/tasks/{id}/resubmit", Scope.SUBMIT, actions.ask_to_resubmit, ""),
    Page("POST", "/tasks/{id}/resubmit", Scope.SUBMIT, actions.send_again, ""),
    Page("POST", "/tasks/{id}/archive", Scope.SUBMIT, actions.archive_again, ""),
    Page("POST", "/deliveries/{id}/retry", Scope.ADMIN, actions.retry_delivery, "hooks"),
    Page("GET", "/health", Scope.READ, health.show_health, "health"),
    Page("GET", "/hooks", Scope.READ, hooks.show_hooks, "hooks"),
    Page("POST", "/hooks/{name}/trial", Scope.ADMIN, hooks.try_hook, "hooks"),
    Page("GET", "/deliveries", Scope.READ, hooks.show_deliveries, "hooks"),
    Page("POST", "/deliveries/retry", Scope.ADMIN, hooks.retry_deliveries, "hooks"),
    Page("GET", "/routes", Scope.READ, reference.show_routes, "routes"),
    Page("GET", "/routes/{route}", Scope.READ, reference.show_route, "routes"),
    Page("GET", "/models", Scope.READ, reference.show_models, "models"),
    Page("GET", "/accounts", Scope.READ, setup.show_accounts, "accounts"),
    Page("GET", "/unmatched", Scope.READ, setup.show_unmatched, "unmatched"),
    Page("GET", "/config", Scope.READ, setup.show_config, "config"),
    Page("GET", "/docs", Scope.READ, reference.show_docs, "docs"),
    Page("GET", "/sign-in", None, sign_in.show_sign_in),
    Page("POST", "/sign-in", None, sign_in.sign_in),
    Page("POST", "/sign-out", Scope.READ, sign_in.sign_out),
    Page("GET", "/static/{name}", None, files.get_static, is_html=False),
)

NAVIGATION: Final = (
    (("Tasks", ""), ("Gallery", "?view=gallery"), ("Health", "health"), ("Hooks", "hooks")),
    (
        ("Models", "models"),
        ("Routes", "routes"),
        ("Accounts", "accounts"),
        ("Unmatched callbacks", "unmatched"),
        ("Configuration", "config"),
        ("API reference", "docs"),
    ),
)
"""The menu, and what is behind its "More": name and path."""
