"""How programs are started, fed, watched and stopped."""
