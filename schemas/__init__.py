"""What all layers share: records, the spec file, errors, and the store that keeps records."""

import os

# From 5.25 on, transformers replaces layers of a model by native code that it downloads from the hub. No code runs that
# nobody named, and a model computes the same wherever it is evaluated and served.
os.environ.setdefault("USE_HUB_KERNELS", "NO")
