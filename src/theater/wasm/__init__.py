"""Actors that are WebAssembly components: the only importer of wasmtime."""
