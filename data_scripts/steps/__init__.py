"""The steps behind the commands.

fetch              one file over HTTP, resumed where it was cut off
download           many files at once, with their sizes and SHA-256 on record
archives           unpacks a tar archive that may be damaged or hostile
kinetics_archives  which archives Kinetics-400 has, and where their videos go
something_parts    joins and unpacks the parts that Something-Something comes in
resize             encodes videos anew for training: smaller, with a key frame every 12 frames
resize_frames      the same for folders of frames, whose frames get one size
probing            writes list files and probes.csv
verify             reads every video where training and testing would, and writes verify.csv
workers            worker processes: one that hangs or crashes costs only its item
ignore_sigint      what the workers' server imports first
common             one command at a time in a folder, errors as messages, small tables, folders written whole
"""
