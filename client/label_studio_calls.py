"""Connections to Label Studio."""

from collections.abc import Sequence

from api_schemas import jobs as job_wire
from api_schemas import label_studio as wire
from client.calls import Calls, given


class LabelStudioCalls(Calls):
    """Connections to projects of Label Studio. They need a key with the scope admin."""

    def connect_label_studio(
        self,
        project: str,
        url: str,
        token: str,
        label_studio_project: int,
        *,
        control: str | None = None,
        add_tasks: bool | None = None,
    ) -> wire.NewConnection:
        """Connect a project: its `backend`, to be given to Label Studio, is shown this once.

        `lookahead label-studio connect` does this and everything that belongs to it.
        """
        body = {
            "project": project,
            "url": url,
            "token": token,
            "label_studio_project": label_studio_project,
        } | given(control=control, add_tasks=add_tasks)
        return self._ask(wire.NewConnection, "POST", "/label-studio", json=body)

    def label_studio_connections(self) -> Sequence[wire.Connection]:
        """Every connection, oldest first."""
        return self._ask(wire.ConnectionList, "GET", "/label-studio").connections

    def sync_label_studio(
        self, connection: str, *, everything: bool | None = None, order: bool | None = None
    ) -> job_wire.Job:
        """The job that reads what is new in Label Studio and makes the order anew."""
        body = given(everything=everything, order=order)
        return self._ask(job_wire.Job, "POST", f"/label-studio/{connection}/sync", json=body)

    def disconnect_label_studio(self, connection: str) -> wire.EndedConnection:
        """End a connection, here and in Label Studio; labels stay."""
        return self._ask(wire.EndedConnection, "DELETE", f"/label-studio/{connection}")
