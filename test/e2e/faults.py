"""The ways in which test/plugins/faulty misbehaves: what each must come to, and a server with that plugin under each access
and each policy."""

from __future__ import annotations

PHASES = ["request_headers", "request_body", "request_trailers", "response_headers", "response_body", "response_trailers"]
POLICIES = ["fail", "deny", "skip"]
ACCESSES = ["observe", "whole", "stream", "blocking"]
DENY_STATUS = 403
SPENT = "did not answer within"

# What the log says of a plugin that failed so.
QUICK = {
    "throw": "exception: thrown by a fault",
    "throw_number": "exception of unknown type",
    "unknown_action": "answered an unknown action 77",
    "reply_without_reply": "answered EXTPROC_REPLY without a reply",
    "bad_status": "answered EXTPROC_REPLY without a reply",
    "suspend_without_handle": "answered EXTPROC_SUSPEND without",
    "hold": "answered EXTPROC_HOLD where nothing can be held",
    "allocate": "took all that it could get",
    "suspend_and_throw": "exception: thrown by a fault",
    "throw_when_resumed": "exception: thrown by a fault",
}
# These fail because their time is over.
WAITING = ["resume_never", "resume_late", "resume_after_end", "cancelled_ignored", "suspend_for_ever"]
# These keep the thread until it is; where they are tried.
BLOCKING = {"sleep": "observe", "spin": "BUFFERED", "sleep_when_resumed": "FULL_DUPLEX_STREAMED"}
FAILING = QUICK | dict.fromkeys([*WAITING, *BLOCKING], SPENT)
# These are odd, and in order.
SOUND = ["resume_later", "resume_by_timer", "resume_at_once", "resume_twice", "resume_from_ten_threads", "suspend_twice",
         "suspend_and_go_on", "unknown_handles", "bad_calls", "work"]
# How many resumes of one stream come to nothing.
IGNORED = {"resume_late": 1, "resume_after_end": 1, "cancelled_ignored": 2, "suspend_and_throw": 1, "suspend_and_go_on": 1,
           "resume_twice": 1, "resume_from_ten_threads": 9, "unknown_handles": 3, "bad_calls": 1}


def plugin(name: str, module: str, policy: str, config: str = "", **more: object) -> str:
    """A [[plugin]], which leaves x-passed where it passes, and the chain of it alone, which gRPC metadata chooses by its
    name."""
    lines = [f"{key} = {value!r}" for key, value in more.items()]
    return "\n".join([
        "[[plugin]]", f"name = '{name}'", f"module = 'faulty_{module}.so'", f"on_error = '{policy}'",
        f"deny_status = {DENY_STATUS}", *lines, "[plugin.config]", "mark = 'x-passed'", config,
        "[[chain]]", f"name = '{name}'", f"plugins = ['{name}']", f"match.metadata = {{ x-extproc-chain = '{name}' }}", "",
    ])


REST = "[[chain]]\nname = 'rest'\nplugins = []\n"
