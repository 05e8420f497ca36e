# dindcache: build and push the image
if [ ! -e "$DINDCACHE/build.sh" ]; then
    echo "dindcache: before_script of .dindcache did not run. A job with a before_script of its own begins it with" \
        "- !reference [.dindcache, before_script]" >&2
    exit 1
fi
sh "$DINDCACHE/build.sh"
