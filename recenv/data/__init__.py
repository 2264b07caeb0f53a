"""Logs in, checked tables out: `sources` read, `logs.build` cleans, attributes and splits, `schema.Dataset` keeps."""
