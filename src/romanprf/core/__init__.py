"""What everything else rests on: images, statistics, threads."""
