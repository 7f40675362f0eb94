"""Source API → `records`: what to harvest (sources), one window at a time, every record once."""
