# dindcache: wait for the daemon; docker labels what it makes, and does again what a restart of the daemon broke
command -v docker >/dev/null || { echo "dindcache: this job's image has no docker command" >&2; exit 1; }
ln -s "$(command -v docker)" "$DINDCACHE/docker"
mkdir "$DINDCACHE/bin"
mv "$DINDCACHE/docker-wrapper.sh" "$DINDCACHE/bin/docker"
chmod +x "$DINDCACHE/bin/docker"
sh "$DINDCACHE/wait.sh" "$DINDCACHE_WAIT" >"$DINDCACHE/started"
export PATH="$DINDCACHE/bin:$PATH"
# An executor that ends the job's processes need not come to after_script.
trap 'sh "$DINDCACHE/clean.sh"; exit 130' INT
trap 'sh "$DINDCACHE/clean.sh"; exit 143' TERM
