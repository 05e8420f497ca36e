#!/bin/sh
# The job's docker and docker-compose. For the job's own daemon it adds three things to the client:
#   - containers, networks and volumes carry the job's label, by which clean.sh finds them
#   - cache mounts are those of the GitLab project
#   - builds, pulls, pushes and logins that a restart of the engine broke are repeated
# and, if DINDCACHE_MAX_BUILDS is set, a fourth: of all builds on the daemon, no more than that run at once.
# It refuses to prune what belongs to others. Everything else is the client itself, in the place of this process.
# Names begin with dindcache_, since an assignment to an exported variable of the job would change it for the client.
set -eu
dindcache=${0%/bin/*}
dindcache_client=$dindcache/client/${0##*/}
# The job's daemon is the one that it began with: the first line of the file.
read -r dindcache_host <"$dindcache/daemon"
dindcache_host=${dindcache_host#DOCKER_HOST=}
dindcache_to=${DOCKER_HOST-}
dindcache_context=default
dindcache_command='' dindcache_again='' dindcache_build=''

# The global flags that take a value, as `docker --help`, `docker compose --help` and `docker buildx --help` list them.
dindcache_flags_of_docker="config context host log-level tlscacert tlscert tlskey"
dindcache_flags_of_compose="$dindcache_flags_of_docker ansi env-file file parallel profile progress project-directory \
project-name workdir"
dindcache_flags_of_buildx=builder

# descend LEVEL: read the flags of this level from here on.
descend() {
    dindcache_level=$1 dindcache_long='' dindcache_short=''
    case $1 in
    docker) dindcache_long=$dindcache_flags_of_docker dindcache_short=cHl ;;
    compose) dindcache_long=$dindcache_flags_of_compose dindcache_short=cHlfp ;;
    buildx) dindcache_long=$dindcache_flags_of_buildx ;;
    esac
}

# read_flag FLAG: set the name of a global flag, and its value if that is in the same word. Returns 1 if it is in the next one.
read_flag() {
    case $1 in
    --*=*)
        dindcache_flag=${1%%=*}
        dindcache_value=${1#*=}
        ;;
    --*)
        dindcache_flag=$1
        case " $dindcache_long " in *" ${1#--} "*) return 1 ;; esac
        ;;
    *)
        # Letters without a value can be before the one that has a value: -Dl debug, -DHtcp://…
        dindcache_value=${1#-}
        while [ -n "$dindcache_value" ]; do
            dindcache_flag=-${dindcache_value%"${dindcache_value#?}"}
            dindcache_value=${dindcache_value#?}
            case $dindcache_short in
            *"${dindcache_flag#-}"*)
                dindcache_value=${dindcache_value#=}
                if [ -n "$dindcache_value" ]; then break; else return 1; fi
                ;;
            esac
        done
        ;;
    esac
}

# use_flag: see which daemon a global flag leads to.
use_flag() {
    case $dindcache_flag in
    -H | --host) dindcache_to=$dindcache_value ;;
    -c | --context) dindcache_context=$dindcache_value ;;
    esac
}

# A flag goes right behind the word of its command, so the arguments pass by once, each from the front to the end.
case ${0##*/} in docker-compose) descend compose ;; *) descend docker ;; esac
dindcache_flag='' dindcache_value='' dindcache_next=''
dindcache_left=$#
while [ "$dindcache_left" -gt 0 ]; do
    dindcache_left=$((dindcache_left - 1))
    dindcache_word=$1
    shift
    set -- "$@" "$dindcache_word"
    if [ -n "$dindcache_command" ]; then continue; fi
    if [ -n "$dindcache_next" ]; then
        dindcache_next='' dindcache_value=$dindcache_word
        use_flag
        continue
    fi
    case $dindcache_word in
    -*)
        if read_flag "$dindcache_word"; then use_flag; else dindcache_next=yes; fi
        continue
        ;;
    esac
    # On another daemon the job does what it wants. Without the job's variables there is nothing to add.
    if [ "$dindcache_to" != "$dindcache_host" ] || [ "$dindcache_context" != default ] || [ -z "${CI_JOB_URL-}" ]; then
        dindcache_command=other
        if [ "${COMPOSE_PROJECT_NAME-}" = "${CI_PROJECT_PATH_SLUG-}-${CI_JOB_ID-}" ]; then unset COMPOSE_PROJECT_NAME; fi
        continue
    fi
    dindcache_command="$dindcache_level $dindcache_word"
    dindcache_words=$(($# - dindcache_left - 1))
    case $dindcache_command in
    "docker compose" | "docker container" | "docker image" | "docker network" | "docker system" | "docker volume")
        dindcache_command=''
        descend "$dindcache_word"
        ;;
    "docker buildx" | "docker builder")
        dindcache_command=''
        descend buildx
        ;;
    "docker run" | "docker create" | "container run" | "container create" | "network create" | "volume create")
        set -- "$@" --label "dindcache.job=$CI_JOB_URL"
        ;;
    "docker build" | "image build" | "buildx build" | "buildx b" | "compose build")
        dindcache_again=yes dindcache_build=yes
        # The builder before BuildKit warns of an argument that the Dockerfile does not use.
        if [ "${DOCKER_BUILDKIT-}" != 0 ]; then set -- "$@" --build-arg "BUILDKIT_CACHE_MOUNT_NS=$CI_PROJECT_ID"; fi
        ;;
    "docker bake" | "buildx bake" | "buildx f")
        dindcache_again=yes dindcache_build=yes
        set -- "$@" --set "*.args.BUILDKIT_CACHE_MOUNT_NS=$CI_PROJECT_ID"
        ;;
    "docker pull" | "docker push" | "image pull" | "image push" | "compose pull" | "compose push") dindcache_again=yes ;;
    "docker login") dindcache_again=login ;;
    *" prune") dindcache_again=refuse ;;
    "compose up" | "compose run" | "compose create" | "compose watch") dindcache_again=note ;;
    esac
done

for dindcache_word in "$@"; do
    case $dindcache_again/$dindcache_word in
    refuse/*label=*) dindcache_again='' ;;
    note/--no-build) dindcache_again='' ;;
    # Once standard input was read, or standard output written, a second try would see the rest or write twice.
    yes/- | yes/-*- | yes/*dest=- | yes/*/dev/std* | yes/*/dev/fd/* | yes/*/proc/self/* | yes/*type=tar* | yes/*type=oci*)
        dindcache_again=once
        ;;
    login/-p* | login/--password | login/--password=*) dindcache_again=yes ;; # or it reads the password
    esac
done

# compose_builds WORDS ARGUMENT...: whether the compose files have an image to build, or cannot be read a second time. The global
# flags are in the first WORDS arguments, which go to the end so that the rest can go.
compose_builds() {
    dindcache_left=$1
    shift
    dindcache_rest=$(($# - dindcache_left))
    while [ "$dindcache_left" -gt 0 ]; do
        set -- "$@" "$1"
        shift
        dindcache_left=$((dindcache_left - 1))
    done
    shift "$dindcache_rest"
    { "$dindcache_client" "$@" config --no-interpolate </dev/null 2>/dev/null || echo '    build:'; } | grep -q '^    build:'
}

case $dindcache_again in
refuse)
    echo "dindcache: docker $dindcache_command is refused, since it removes what other jobs use. The daemon prunes by itself;" \
        "what is this job's own has the label dindcache.job=$CI_JOB_URL" >&2
    exit 1
    ;;
note)
    # Compose has no flag for the build arguments of these commands.
    if compose_builds "$dindcache_words" "$@"; then
        echo "dindcache: in docker $dindcache_command, cache mounts are shared with other projects. To give them a namespace of" \
            "the project, run docker compose build first, then docker $dindcache_command --no-build" >&2
    fi
    ;;
esac
case $dindcache_again in yes | once | login) ;; *) exec "$dindcache_client" "$@" ;; esac

# start COMMAND...: run it in the background, since a shell handles no signal before the command in its foreground ends.
start() {
    "$@" <&9 9<&- &
    dindcache_child=$!
}

# attend: wait for the command, and set its exit status. Signals are passed on.
attend() {
    dindcache_status=127
    while :; do
        dindcache_before=$dindcache_signals
        dindcache_waited=0
        wait "$dindcache_child" || dindcache_waited=$?
        # 127 is what the shell says of a command whose status it has told before.
        if [ "$dindcache_waited" -ne 127 ]; then dindcache_status=$dindcache_waited; fi
        # A signal ends the wait, and not the command.
        if [ "$dindcache_signals" = "$dindcache_before" ]; then return; fi
    done
}

# place: hold a place on the daemon while descriptor 8 is open. The container has the programs of the daemon's own image, so
# that it needs no other.
place() {
    rm -f "$dindcache_place" "$dindcache_place.pipe"
    mkfifo "$dindcache_place.pipe"
    set -- env DOCKER_HOST="$dindcache_host" "$dindcache/client/docker"
    "$@" image inspect dindcache-place >/dev/null 2>&1 ||
        head -c 1024 /dev/zero | "$@" import - dindcache-place >/dev/null 2>&1 || :
    "$@" run --rm --interactive --cidfile "$dindcache_place" --network none --log-driver none \
        --label dindcache.place --label "dindcache.job=$CI_JOB_URL" --volume /bin:/bin:ro --volume /lib:/lib:ro \
        dindcache-place cat <"$dindcache_place.pipe" >/dev/null 2>"$dindcache_place.error" 9<&- &
    dindcache_holder=$!
    exec 8>"$dindcache_place.pipe"
}

# take_turn: wait until the daemon has a place for this build.
take_turn() {
    dindcache_place=$dindcache/place-$$
    dindcache_left=3
    while [ "$dindcache_left" -gt 0 ]; do
        dindcache_left=$((dindcache_left - 1))
        exec 8>&-
        DOCKER_HOST=$dindcache_host sh "$dindcache/wait.sh" >/dev/null || return 0
        place
        start env DOCKER_HOST="$dindcache_host" PLACE="$dindcache_place" CLIENT="$dindcache_holder" sh "$dindcache/queue.sh"
        attend
        if [ "$dindcache_status" -eq 0 ]; then return; fi
        if [ -n "$dindcache_signals" ]; then exit "$dindcache_status"; fi
    done
    echo "dindcache: this build runs regardless of the limit, since it gets no place: $(cat "$dindcache_place.error")" >&2
}

export DINDCACHE="$dindcache"
# What runs beside a shell gets /dev/null for its standard input, unless it is told otherwise. It can be closed.
if (: 9<&0) 2>/dev/null; then exec 9<&0; else exec 9</dev/null; fi
dindcache_child='' dindcache_signals=''
for dindcache_word in HUP INT QUIT TERM; do
    # shellcheck disable=SC2064 # the name of the signal is that of now
    trap "dindcache_signals=\$dindcache_signals.; kill -$dindcache_word \"\$dindcache_child\" 2>/dev/null || :" "$dindcache_word"
done
for dindcache_try in 1 2 3; do
    if [ -n "${DINDCACHE_MAX_BUILDS-}" ] && [ -n "$dindcache_build" ]; then take_turn; fi
    start "$dindcache_client" "$@"
    # Each command compares with the engine at its own begin, since others run at the same time. It takes seconds for an engine to
    # start, so the one that answers here is the one that the command found, and no answer is another one.
    dindcache_started=$(DOCKER_HOST=$dindcache_host DINDCACHE_WAIT=0 sh "$dindcache/wait.sh" 2>/dev/null) || :
    attend
    dindcache_result=$dindcache_status
    if [ "$dindcache_result" -eq 0 ] || [ -n "$dindcache_signals" ]; then exit "$dindcache_result"; fi
    start env DOCKER_HOST="$dindcache_host" STARTED="$dindcache_started" sh "$dindcache/wait.sh" >/dev/null
    attend
    # The engine is the one that it was, or there is none: the failure is the command's own.
    if [ "$dindcache_status" -ne 3 ]; then exit "$dindcache_result"; fi
    if [ "$dindcache_again" != yes ] || [ "$dindcache_try" -eq 3 ]; then break; fi
    echo "dindcache: the daemon was restarted, so once more: docker ${dindcache_command#docker }" >&2
done
echo "dindcache: the daemon was restarted, and docker ${dindcache_command#docker } ended with $dindcache_result" >&2
exit 75 # EX_TEMPFAIL: on which GitLab tries the job again
