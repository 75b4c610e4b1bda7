"""The pure core: model, policy, formats and errors. No input or output; the time is always an argument."""
