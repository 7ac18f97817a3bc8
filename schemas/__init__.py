"""What all layers share: records, the spec file, errors, and the store that keeps records."""
