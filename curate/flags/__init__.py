"""Steps that only flag rows for review: outputs that contradict their input, and unlikely labels."""
