"""Where seeds come from: readers of files, folders, hub ids and standard input, and what their columns mean."""
