# dindcache: remove the containers, networks and volumes that this job left on the daemon
if [ -e "$DINDCACHE/daemon" ]; then
    sh "$DINDCACHE/clean.sh"
elif [ ! -e "$DINDCACHE" ]; then
    echo "dindcache: before_script of .dindcache did not run. A job with a before_script of its own begins it with" \
        "- !reference [.dindcache, before_script]" >&2
fi
