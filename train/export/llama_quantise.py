"""Quantise a 16-bit GGUF with llama.cpp's library: `PYTHON llama_quantise.py FROM TO KIND THREADS`.

Run by `train.export.gguf` under a Python that has llama-cpp-py-sync and none of pairsmith's packages.
"""

import sys

from llama_cpp_py_sync._cffi_bindings import ffi, get_lib


def main() -> None:
    """Quantise `sys.argv[1]` as the program `llama-quantize` does."""
    source, target, kind, threads = sys.argv[1:]
    llama = get_lib()
    llama.llama_backend_init()
    params = ffi.new("llama_model_quantize_params *", llama.llama_model_quantize_default_params())
    params.ftype = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    params.nthread = int(threads)
    failed = llama.llama_model_quantize(source.encode(), target.encode(), params)
    if failed:
        sys.exit(f"llama.cpp's library could not write {kind} (code {failed})")


if __name__ == "__main__":
    main()
