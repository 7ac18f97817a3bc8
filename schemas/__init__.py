"""The words every layer speaks: records, the spec file, errors, and the store that keeps records."""
