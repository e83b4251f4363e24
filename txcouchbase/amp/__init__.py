"""What both sides of the pipe share. Nothing here imports a reactor or opens a connection."""
