"""Examples whose texts are named by ids, as the files of MS MARCO do; the texts lie in files of their own."""
