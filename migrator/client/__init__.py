"""A small reference implementation of the client's side: authorising and exporting. A model for mobile teams."""
