"""Seeds in, pairs out: seed readers, teachers, generators, and the engine that runs them."""
