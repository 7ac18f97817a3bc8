"""The stages as the face wires them: each takes a session, a project and its store, and leaves a receipt."""
