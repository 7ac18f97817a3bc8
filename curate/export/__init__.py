"""The dataset folder of accepted rows: its files, chat files for other trainers, card and licences."""
