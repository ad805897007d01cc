"""What the embedded model knows: how to read a document, ask about its sentences, and find the ones that answer."""
