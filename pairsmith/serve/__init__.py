"""`pairsmith serve`: the pipeline as a multi-user HTTP service; jobs survive the page, the server and the machine."""
