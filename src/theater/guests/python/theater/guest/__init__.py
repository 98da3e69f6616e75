"""How an actor runs inside a component."""
