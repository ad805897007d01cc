"""Search engines: retrieval as a tool, over documents that can be streamed, counted and sampled."""
