"""The steps behind the commands.

fetch              one file over HTTP, resumed where it was cut off
download           many files at once, with their sizes and SHA-256 on record
archives           unpacks a tar archive that may be damaged or hostile
kinetics_archives  which archives Kinetics-400 has, and where their videos go
something_parts    joins and unpacks the parts that Something-Something comes in
"""
