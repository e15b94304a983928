"""Descriptions in the metadata of photographs: XMP packets, and the files that hold them."""
