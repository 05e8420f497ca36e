# dindcache: remove the containers, networks and volumes that this job left
if [ -e "$DINDCACHE/clean.sh" ]; then sh "$DINDCACHE/clean.sh"; fi
