"""Downloads: request -> part -> file -> unpacked archive."""
