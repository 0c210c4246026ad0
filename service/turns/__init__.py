"""Who is worked for, and in which order: requests that wait for a thread, and passwords that are guessed."""
