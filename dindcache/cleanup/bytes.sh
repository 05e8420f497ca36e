#!/bin/sh
# The function of awk that converts a size as Docker's clients print it, such as 61B or 1.109GB, to bytes. Sourced by guard-disk.sh
# and collect.sh, and not in common.sh, since jobs have that, and a job can have a variable of this name.
# shellcheck disable=SC2034 # for the scripts that source this one
BYTES='function bytes(text, unit, i) {
    unit = text
    sub(/[0-9.]+/, "", unit)
    text += 0
    for (i = index("kMGT", substr(unit, 1, 1)); i > 0; i--) text *= 1000
    return text
}'
