"""Where do legacy rows come from? The only folder that knows how legacy data is reached."""
