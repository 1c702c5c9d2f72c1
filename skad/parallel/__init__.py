"""Pictures dealt out to the workers of a joblib backend: threads, processes, Dask, Ray."""
