"""Records in, artefacts out; nothing here trains."""
