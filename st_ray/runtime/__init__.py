"""Where Ray is: sessions, the resumable stage, and one file a job family."""
