"""Pictures of results: figures for papers and for looking at."""
