#!/bin/sh
# Choose the daemon of a job: the first member of the fleet, in the order of the job's key, that answers. Prints its host. In an
# image without docker it asks none: the job has another client, or needs no daemon.
#   MEMBERS           a line for each member: its name, its weight and its DOCKER_HOST
#   KEY               key of the job, which is not empty
#   FAILOVER_SECONDS  how long to wait for the first member
#   FULL_AT           with how many builds the first member is full, so that a less busy second one is preferred, or nothing
set -eu
: "${MEMBERS:?}" "${KEY:?}" "${FAILOVER_SECONDS:?}" "${FULL_AT?}"

log() { echo "dindcache: $*" >&2; }

# now: print the seconds since the node booted. Of all that a job's image can lack, this needs the shell only.
now() {
    read -r uptime </proc/uptime
    echo "${uptime%%.*}"
}

# digest TEXT: print 60 bits of the SHA-256 of a text and a line break: as many as fit into a number of every shell.
digest() {
    if command -v sha256sum >/dev/null; then
        # A here-document needs no further process.
        sum=$(
            sha256sum <<END
$1
END
        )
    else
        sum=$(sha256 "$1")
    fi
    echo "$((0x${sum%"${sum#???????????????}"}))"
}

# sha256 TEXT: print 64 bits of the SHA-256 of a text and a line break, in images without sha256sum.
sha256() {
    to_bytes "$1"
    # shellcheck disable=SC2086 # numbers
    set -- $bytes 10 128 0 0 0 0
    bits=$((($# - 5) * 8))
    while [ $((($# + 4) % 64)) -ne 0 ]; do set -- "$@" 0; done
    set -- "$@" $((bits >> 24 & 255)) $((bits >> 16 & 255)) $((bits >> 8 & 255)) $((bits & 255))
    # The fractional parts of the square roots of the first eight primes, as the standard has them.
    s0=0x6a09e667 s1=0xbb67ae85 s2=0x3c6ef372 s3=0xa54ff53a s4=0x510e527f s5=0x9b05688c s6=0x1f83d9ab s7=0x5be0cd19
    while [ $# -gt 0 ]; do
        a=$((s0)) b=$((s1)) c=$((s2)) d=$((s3)) e=$((s4)) f=$((s5)) g=$((s6)) h=$((s7)) i=0 x=0 y=0
        # Those of the cube roots of the first 64 primes.
        for k in 428a2f98 71374491 b5c0fbcf e9b5dba5 3956c25b 59f111f1 923f82a4 ab1c5ed5 d807aa98 12835b01 243185be 550c7dc3 \
            72be5d74 80deb1fe 9bdc06a7 c19bf174 e49b69c1 efbe4786 0fc19dc6 240ca1cc 2de92c6f 4a7484aa 5cb0a9dc 76f988da \
            983e5152 a831c66d b00327c8 bf597fc7 c6e00bf3 d5a79147 06ca6351 14292967 27b70a85 2e1b2138 4d2c6dfc 53380d13 \
            650a7354 766a0abb 81c2c92e 92722c85 a2bfe8a1 a81a664b c24b8b70 c76c51a3 d192e819 d6990624 f40e3585 106aa070 \
            19a4c116 1e376c08 2748774c 34b0bcb5 391c0cb3 4ed8aa4a 5b9cca4f 682e6ff3 748f82ee 78a5636f 84c87814 8cc70208 \
            90befffa a4506ceb bef9a3f7 c67178f2; do
            if [ "$i" -lt 16 ]; then
                w=$(($1 << 24 | $2 << 16 | $3 << 8 | $4))
                shift 4
            else
                j=$((i - 16)) l=$((i - 15)) m=$((i - 7)) n=$((i - 2))
                eval "x=\$w$l y=\$w$n w=\$((w$j + w$m))"
                w=$((w + ((x >> 7 | x << 25) ^ (x >> 18 | x << 14) ^ x >> 3) & 0xffffffff))
                w=$((w + ((y >> 17 | y << 15) ^ (y >> 19 | y << 13) ^ y >> 10) & 0xffffffff))
            fi
            eval "w$i=$w"
            t=$((h + ((e >> 6 | e << 26) ^ (e >> 11 | e << 21) ^ (e >> 25 | e << 7)) + ((e & f) ^ (~e & g)) + 0x$k + w))
            u=$((((a >> 2 | a << 30) ^ (a >> 13 | a << 19) ^ (a >> 22 | a << 10)) + ((a & b) ^ (a & c) ^ (b & c))))
            h=$g g=$f f=$e e=$((d + t & 0xffffffff)) d=$c c=$b b=$a a=$((t + u & 0xffffffff)) i=$((i + 1))
        done
        s0=$((s0 + a & 0xffffffff)) s1=$((s1 + b & 0xffffffff)) s2=$((s2 + c & 0xffffffff)) s3=$((s3 + d & 0xffffffff))
        s4=$((s4 + e & 0xffffffff)) s5=$((s5 + f & 0xffffffff)) s6=$((s6 + g & 0xffffffff)) s7=$((s7 + h & 0xffffffff))
    done
    printf '%08x%08x\n' "$s0" "$s1"
}

# to_bytes TEXT: set bytes to the numbers of its bytes.
to_bytes() {
    LC_ALL=C # so that a character is a byte
    text=$1 bytes=''
    ascii=' !"#$%&'\''()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghijklmnopqrstuvwxyz{|}~'
    while [ -n "$text" ]; do
        rest=${text#?}
        character=${text%"$rest"}
        text=$rest
        before=${ascii%%"$character"*}
        if [ "$before" = "$ascii" ]; then
            bytes="$bytes $(($(printf %d "'$character") & 255))"
        else
            bytes="$bytes $((${#before} + 32))"
        fi
    done
}

# scored: print a line for each member: the lowest of its digests, of which a weight gives it several, its name and its host.
scored() {
    while read -r name weight host; do
        lowest='' number=0
        while [ "$number" -lt "$weight" ]; do
            number=$((number + 1))
            score=$(digest "$name#$number
$KEY")
            if [ -z "$lowest" ] || [ "$score" -lt "$lowest" ]; then lowest=$score; fi
        done
        echo "$lowest $name $host"
    done <<END
$MEMBERS
END
}

# next: set score, name and host to those of the member that follows in the order. Returns 1 after the last one.
next() {
    following='' name='' host=''
    while read -r each its_name its_host; do
        if [ "$each" -gt "$score" ] && { [ -z "$following" ] || [ "$each" -lt "$following" ]; }; then
            following=$each name=$its_name host=$its_host
        fi
    done <<END
$members
END
    score=$following
    [ -n "$name" ]
}

# answers: whether a member answers, or set the reason. What it says of the client or its certificate is an answer too: the other
# members would say the same.
answers() {
    reason=''
    answer=$(DOCKER_HOST=$host $limit docker network inspect --format 'answer' bridge 2>&1 </dev/null) && return
    case $answer in
    *"is too old"* | *.pem* | *x509* | *tls:* | *"HTTP request to an HTTPS server"* | *"server gave HTTP response"*) return 0 ;;
    *"no such host"* | *"server misbehaving"*) reason="no such name" ;;
    *refused* | *"Is the docker daemon running"*) reason=refused ;;
    *) reason="no answer" ;;
    esac
    return 1
}

# found: print the host of the member, and say why it is not the first one.
found() {
    if [ "$name" = "$first" ]; then
        log "the daemon of this job is $name"
    else
        log "the daemon of this job is $name, since $first $why. The next job begins at $first again"
    fi
    echo "$host"
}

# builds: print how many builds run or wait on a member.
builds() { DOCKER_HOST=$host $limit docker ps --quiet --filter label=dindcache.place 2>/dev/null </dev/null | wc -l; }

# prefer_less_busy: set name and host to those of the second member if the first one is full and the second one has fewer builds.
prefer_less_busy() {
    busy=$(builds)
    if [ "$busy" -lt "$FULL_AT" ]; then return; fi
    why="has $((busy)) builds" first_host=$host
    if next && answers && [ "$(builds)" -lt "$busy" ]; then return; fi
    name=$first host=$first_host
}

# try: ask the members in their order, until one answers. The first whose name exists is given time. Returns 1 if none answers yet.
try() {
    score=-1
    while next; do
        if answers; then
            if [ -n "$FULL_AT" ] && [ "$name" = "$first" ]; then prefer_less_busy; fi
            found
            return
        fi
        if [ "$name" = "$first" ]; then why="is not available: $reason"; fi
        if [ "$reason" != "no such name" ] && [ $(($(now) - begin)) -lt "$FAILOVER_SECONDS" ]; then
            if [ "$logged" != "$name: $reason" ]; then log "$name: $reason; waiting up to $FAILOVER_SECONDS s"; fi
            logged="$name: $reason"
            return 1
        fi
    done
    return 1
}

main() {
    unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy # they lead to no daemon of the cluster
    members=$(scored)
    score=-1
    next
    first=$name home=$host why='' logged=''
    if ! command -v docker >/dev/null; then
        echo "$home"
        return
    fi
    limit=
    if command -v timeout >/dev/null; then limit="timeout 10"; fi
    begin=$(now)
    until try; do
        if [ $(($(now) - begin)) -ge "$FAILOVER_SECONDS" ]; then
            log "no daemon of the fleet answers; this job begins at $first"
            echo "$home"
            return
        fi
        sleep 1
    done
}

main "$@"
