"""Model folders and what runs them: source, folder, tokenizer, network, BiEncoder."""
