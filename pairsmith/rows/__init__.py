"""The rows of a project: as generated and curated, everything known about one, and its replay."""
