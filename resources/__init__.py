"""Tables of the published model: its 802 contexts and 2,002 chromatin features."""
