"""Downloads of published files, resumed and checked, and safe unpacking of archives."""
