# dindcache: wait for the daemon; docker labels what it creates, and repeats what a restart of the daemon interrupted
command -v docker >/dev/null || { echo "dindcache: this job's image has no docker command" >&2; exit 1; }
ln -s "$(command -v docker)" "$DINDCACHE/docker"
mkdir "$DINDCACHE/bin"
mv "$DINDCACHE/docker-wrapper.sh" "$DINDCACHE/bin/docker"
chmod +x "$DINDCACHE/bin/docker"
WAIT_SECONDS=$DINDCACHE_WAIT sh "$DINDCACHE/wait.sh" >"$DINDCACHE/started"
export PATH="$DINDCACHE/bin:$PATH"
# An executor that ends the processes of a job does not always run after_script.
trap 'sh "$DINDCACHE/clean.sh"; exit 130' INT
trap 'sh "$DINDCACHE/clean.sh"; exit 143' TERM
