"""Where people answer: an Argilla server of our own or another, the task, and the rows that go there and come back."""
