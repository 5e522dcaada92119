"""What does somebody export from 4D by hand? Key words as a text file: tabs, carriage returns, MacRoman."""

from __future__ import annotations

import os
import time
from pathlib import Path

FILE = "Schlagworte.txt"
_LAST_HOUR = 3600
_WORDS = {
    "Ostern": "Hasen, Eier und Küken",
    "Weihnachten": "Krippen, Engel und Christbaumschmuck",
    "Märchen": "Figuren aus Grimms Märchen",
    "Frühling": "Blumen, Vögel und Schmetterlinge",
    "Historische Figuren": "Könige, Ritter und Bürger",
    "Straßenszenen": "Laternen, Kutschen und Häuser",
    "Zirkus": "Clowns, Pferde und Elefanten",
    "Berufe": "Bäcker, Müller, Schäfer",
    "Tiere": "Vom Igel bis zum Bären",
    "Jahreszeiten": "",
    "Spielzeug": "Schaukelpferd und Puppenstube",
    "Musik": "Engelsorchester und Kapellen",
    "Bäume": "Tannen, Birken, Apfelbäume",
    "Fahrzeuge": "Schlitten, Kutschen, Eisenbahn",
    "Trachten": "Dirndl und Lederhosen",
    "Adventskalender": "24 kleine Figuren",
    "Schützenfest": "Fahnen und Umzüge",
    "Hochzeit": "Brautpaare und Gäste",
    "Limitierte Auflage": "Nummeriert und signiert",
    "Rohlinge": "Zum Selbstbemalen",
}


def write_tags(folder: Path) -> None:
    """The export of an hour ago; one line has a tab too many, as happens when somebody types one into a text."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["Name\tBeschreibung", *(f"{name}\t{text}" for name, text in _WORDS.items()), "Neuheiten\tFrühjahr\t2025"]
    file = folder / FILE
    file.write_bytes("".join(f"{line}\r" for line in lines).encode("mac_roman"))
    then = time.time() - _LAST_HOUR
    os.utime(file, (then, then))
