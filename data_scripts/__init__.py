"""Commands that turn downloaded archives into folders and lists that tanet reads. Only a checkout has them: pip
installs the package tanet alone.

kinetics400  the commands for Kinetics-400: download, extract, resize, lists, verify
something    the commands for Something-Something V1 and V2: extract, frames, resize, lists, labels, verify
steps/       what the commands are made of
"""
