# Writes files of hexadecimal text, the same for the same seed: -v seed= -v files= -v lines= (of 65 bytes) -v directory=
# The text repeats after more than gzip's window, so it compresses to half and no better, as programs do.
BEGIN {
    number = seed % 2147483646 + 1
    for (i = 0; i < 4096; i++) {
        for (j = 0; j < 8; j++) {
            number = number * 16807 % 2147483647
            text[i] = text[i] sprintf("%08x", number)
        }
    }
    for (file = 0; file < files; file++) {
        name = directory "/" sprintf("%04d", file)
        number = number * 16807 % 2147483647
        print seed, number >name
        for (i = 0; i < lines; i++) print text[(number + i) % 4096] >name
        close(name)
    }
}
