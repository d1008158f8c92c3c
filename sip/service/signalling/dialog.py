"""A dialog (RFC 3261 12): the identifiers, sequence numbers and routes of one leg. No I/O."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sip.service.signalling.messages import Request, Response, respond, uri_of

MAX_FORWARDS = "70"


def new_tag() -> str:
    """An unguessable tag: who knows it may send requests in the dialog."""
    return secrets.token_hex(8)


@dataclass
class Dialog:
    """One leg's side of a dialog. `local` and `remote` are From/To values, with their tags once known."""

    call_id: str
    local_tag: str
    local: str
    remote: str
    target: str
    """The far end's Contact, where requests go (as their URI)."""
    contact: str
    """Our Contact value."""
    routes: list[str] = field(default_factory=list[str])
    sequence: int = 0
    """Number of the last request sent."""
    remote_sequence: int = -1
    """Number of the last request received; -1 before the first."""
    remote_tag: str = ""

    @classmethod
    def answering(cls, invite: Request, contact: str) -> Dialog:
        """The dialog of an INVITE that came in (12.1.1). Raises `ValueError` without a usable Contact."""
        tag = new_tag()
        return cls(
            call_id=invite.call_id,
            local_tag=tag,
            local=f"{invite.headers['To']};tag={tag}",
            remote=invite.headers["From"],
            remote_tag=invite.from_tag,
            target=_contact_of(invite),
            contact=contact,
            routes=invite.items("Record-Route"),
            remote_sequence=invite.sequence,
        )

    @classmethod
    def calling(cls, uri: str, local: str, remote: str, contact: str, call_id: str) -> Dialog:
        """The dialog of an INVITE that is about to go out to `uri`."""
        tag = new_tag()
        return cls(call_id, tag, f"{local};tag={tag}", remote, uri, contact)

    def confirm(self, response: Response) -> None:
        """Learn from the response to our INVITE (12.1.2)."""
        self.remote = response.headers["To"]
        self.remote_tag = response.to_tag
        self.routes = response.items("Record-Route")[::-1]
        if response.headers.get("Contact"):
            self.target = _contact_of(response)

    def refresh(self, message: Request | Response) -> None:
        """Learn a new Contact from a re-INVITE, an UPDATE or their answer (12.2)."""
        if message.headers.get("Contact"):
            self.target = _contact_of(message)

    def request(self, method: str, sequence: int = 0) -> Request:
        """A request in this dialog (12.2.1.1); `sequence` 0 takes the next number."""
        if not sequence:
            self.sequence += 1
        routes = list(self.routes)
        uri = self.target
        if routes and "lr" not in _parameters(routes[0]):
            # A strict router: it wants to be the request URI itself.
            uri, routes = uri_of(routes[0]), [*routes[1:], f"<{self.target}>"]
        request = Request(method=method, uri=uri)
        for route in routes:
            request.headers.add("Route", route)
        request.headers.add("Max-Forwards", MAX_FORWARDS)
        request.headers.add("From", self.local)
        request.headers.add("To", self.remote)
        request.headers.add("Call-ID", self.call_id)
        request.headers.add("CSeq", f"{sequence or self.sequence} {method}")
        if method != "ACK":
            request.headers.add("Contact", self.contact)
        return request

    def response(self, request: Request, code: int, phrase: str = "") -> Response:
        """A response in this dialog; with our Contact where it makes or refreshes the dialog."""
        response = respond(request, code, phrase, tag=self.local_tag)
        if 100 < code < 300 and request.method in ("INVITE", "UPDATE"):
            response.headers.add("Contact", self.contact)
        return response

    @property
    def next_hop(self) -> str:
        """URI that says where requests go: the first route, or the target."""
        return uri_of(self.routes[0]) if self.routes else self.target

    def in_order(self, request: Request) -> bool:
        """Whether a request's number is new (12.2.2); remembers it."""
        if request.sequence <= self.remote_sequence:
            return False
        self.remote_sequence = request.sequence
        return True


def _contact_of(message: Request | Response) -> str:
    contacts = message.items("Contact")
    if len(contacts) != 1:
        raise ValueError("needs exactly one Contact")
    return uri_of(contacts[0])


def _parameters(route: str) -> set[str]:
    return {part.split("=")[0].strip().lower() for part in uri_of(route).split(";")[1:]}
