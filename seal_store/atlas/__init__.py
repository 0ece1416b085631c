"""The atlas: effects of every SNV near TSSs, scored once, in a file that is looked up."""
