"""pykka's proxy style for agents: a future per call or field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torpor.calls import Reply
    from torpor.commands import Command
    from torpor.ref import AgentRef

__all__ = ["AgentProxy", "MethodProxy"]


class AgentProxy:
    """Attributes of this object are those of the agent, by message.

    A method returns a ``Reply`` when called; a field is a ``Reply`` of its value. Other names
    raise ``UnknownMethodError``. It is read-only.
    """

    __slots__ = ("_ref",)

    def __init__(self, ref: AgentRef[Any]) -> None:
        self._ref = ref

    def __repr__(self) -> str:
        return f"<AgentProxy {self._ref.address}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        spec = self._ref.registration.spec
        if name in spec.cls.model_fields:
            return self._ref.dispatch(spec.find_field(name), (), {}, blocking=False)
        return MethodProxy(self._ref, spec.find_name(name))


class MethodProxy:
    """One method of an agent: call it for a ``Reply``, or ``defer`` it to tell."""

    __slots__ = ("_command", "_ref")

    def __init__(self, ref: AgentRef[Any], command: Command) -> None:
        self._ref = ref
        self._command = command

    def __call__(self, *args: Any, **kwargs: Any) -> Reply[Any]:
        """Send the call and return its future."""
        return self._ref.dispatch(self._command, args, kwargs, blocking=False)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Send the call; nobody waits for its result."""
        self._ref.dispatch_tell(self._command, args, kwargs)
