"""`pairsmith serve`: the pipeline for several people over HTTP, with jobs that outlive page, server and machine."""
